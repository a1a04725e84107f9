"""The window through which all views of a rig are seen: a crop that is enlarged to the whole image again.

One window for all views, as a rig of longer lenses sees, turned and tilted alike; neighbours then still overlap at
the sides that the cross-view block has learned to look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

GRAIN = 2**12
"""Windows lie on a grid of so many steps over the image, so that integers, and float32, hold their places exactly."""


@dataclass(frozen=True)
class Window:
    """A box of the image's own shape; `top`, `left` and `extent` in 1/GRAIN of the image's height or width."""

    top: int = 0
    left: int = 0
    extent: int = GRAIN

    @property
    def zoom(self) -> float:
        """How many times larger everything appears."""
        return GRAIN / self.extent

    def box_px(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge on an image of that size, in pixels."""
        right, bottom = self.left + self.extent, self.top + self.extent
        return self.left * width / GRAIN, self.top * height / GRAIN, right * width / GRAIN, bottom * height / GRAIN

    def shares(self) -> Float32[Tensor, "3"]:
        """Top, left and extent as shares of the image, as a batch carries them."""
        return torch.tensor([self.top, self.left, self.extent], dtype=torch.float32) / GRAIN


WHOLE = Window()


def look_through(
    values: Float32[Tensor, "B V C h0 w0"], windows: Float32[Tensor, "B 3"], grid: tuple[int, int]
) -> Float32[Tensor, "B V C h w"]:
    """What the windows show of maps of whole views, on `grid` = (h, w).

    Averages of cells where those of the new grid are larger, else bilinear, continued beyond the last cell's centre:
    weights of one cell sum to 1, so probabilities stay probabilities.
    """
    top, left, extent = windows.unbind(dim=1)
    rows = _weights(top, extent, values.shape[-2], grid[0])
    columns = _weights(left, extent, values.shape[-1], grid[1])
    return torch.einsum("bvcij,bhi,bwj->bvchw", values, rows, columns)


def _weights(start: Float32[Tensor, "B"], extent: Float32[Tensor, "B"], cells: int, size: int) -> Tensor:
    """How much each of `cells` cells counts in each of `size` new ones, (B, size, cells): by how far they overlap.

    A new cell smaller than an old one is widened to it about its centre, which is linear interpolation.
    """
    places = torch.arange(size, device=start.device) + 0.5
    scale = extent[:, None] * cells / size  # cells per new cell
    half = scale.clamp(min=1) / 2
    centre = start[:, None] * cells + places * scale
    centre = torch.minimum(torch.maximum(centre, half), cells - half)
    edge = torch.arange(cells, device=start.device)
    low, high = (centre - half)[..., None], (centre + half)[..., None]
    overlap = torch.minimum(high, edge + 1) - torch.maximum(low, edge)
    return overlap.clamp(min=0) / (2 * half)[..., None]
