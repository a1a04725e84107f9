"""Pictures seen otherwise: mirrored, from nearer, in another light, with noise. Disparity stays true up to scale."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

LARGEST_ZOOM = 1.6
ZOOMED = 0.7
"""Share of the pictures that are cut."""
GAMMA = 0.35
"""Largest |ln gamma|."""
GAIN = 0.3
CHANNEL_GAIN = 0.1
SATURATION = 0.4
CONTRAST = 0.2
NOISE = 0.03
"""Largest standard deviation; white is 1."""


def augmented(
    images: UInt8[Tensor, "B H W 3"], depth_m: Float[Tensor, "B H W"], generator: torch.Generator
) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B H W"]]:
    """Pictures with values from 0 to 255, and their depths, cut and mirrored alike.

    `generator` is one of the CPU, so that the same numbers are drawn for every device. A picture that is cut shows
    depths as they were, of which a longer lens would see the same disparities up to scale.
    """
    grid = _grid(len(images), images.shape[1:3], generator).to(images.device)
    seen = grid_sample(images.permute(0, 3, 1, 2).float() / 255, grid, mode="bilinear", align_corners=False)
    depth = grid_sample(depth_m[:, None], grid, mode="nearest", align_corners=False).squeeze(1)
    return 255 * _in_another_light(seen, generator), depth


def _grid(count: int, size_hw: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "B H W 2"]:
    """Where each pixel is taken from."""
    zoom = torch.exp(_uniform((count,), 0, math.log(LARGEST_ZOOM), generator))
    zoom = torch.where(torch.rand(count, generator=generator) < ZOOMED, zoom, 1)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    free = 1 - 1 / zoom
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = mirror / zoom, 1 / zoom
    affine[:, :, 2] = free[:, None] * _uniform((count, 2), -1, 1, generator)
    return affine_grid(affine, [count, 1, *size_hw], align_corners=False)


def _in_another_light(x: Float[Tensor, "B 3 H W"], generator: torch.Generator) -> Float[Tensor, "B 3 H W"]:
    def draw(half: float, channels: int = 1) -> Float[Tensor, "B C 1 1"]:
        return _uniform((len(x), channels, 1, 1), -half, half, generator).to(x.device)

    noise = torch.randn(x.shape, generator=generator).to(x.device) * draw(NOISE).abs()
    x = x.clamp(min=1e-3) ** torch.exp(draw(GAMMA))
    x = x * (1 + draw(GAIN)) * (1 + draw(CHANNEL_GAIN, 3))
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + draw(SATURATION))
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + draw(CONTRAST))
    return (x + noise).clamp(0, 1)


def _uniform(shape: tuple[int, ...], low: int | float, high: int | float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
