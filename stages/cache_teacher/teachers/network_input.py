"""What a network takes in, which part of it shows the image, and how to cut a map down to that part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Window:
    """Where the image lies in a padded network input: corner and extent as fractions of the input."""

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0

    @classmethod
    def inside(cls, size_hw: tuple[int, int], top: int, left: int, padded_hw: tuple[int, int]) -> Window:
        """Window of an image of `size_hw` pixels placed `top` and `left` pixels inside a frame of `padded_hw`."""
        (height, width), (padded_height, padded_width) = size_hw, padded_hw
        return cls(top / padded_height, left / padded_width, height / padded_height, width / padded_width)


@dataclass(frozen=True)
class NetworkInput:
    """V images of equal size as the network takes them, and where in them the image lies."""

    pixel_values: Float[Tensor, "V 3 h w"]
    window: Window


def show(maps: Float[Tensor, "V C h w"], window: Window) -> Float[Tensor, "V C h2 w2"]:
    """Cut maps that cover the network's input down to the window, so that they cover exactly the image.

    The window's edges fall between the map's pixels, so the cut is resampled bilinearly (half-pixel centres) at
    the map's own resolution. Bilinear weights are positive and sum to 1: probabilities stay probabilities.
    """
    if window == Window():
        return maps
    views, _, height, width = maps.shape
    cut_hw = max(1, round(height * window.height)), max(1, round(width * window.width))
    affine = torch.tensor(
        [
            [window.width, 0.0, 2 * window.left + window.width - 1],
            [0.0, window.height, 2 * window.top + window.height - 1],
        ],
        device=maps.device,
        dtype=maps.dtype,
    )
    grid = affine_grid(affine.expand(views, 2, 3), [views, 1, *cut_hw], align_corners=False)
    # Clamping to the outermost pixel centres is padding_mode="border", which Metal does not offer.
    limit = torch.tensor([1 - 1 / width, 1 - 1 / height], device=maps.device, dtype=maps.dtype)
    return grid_sample(maps, grid.clamp(-limit, limit), mode="bilinear", align_corners=False)
