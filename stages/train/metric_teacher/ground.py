"""Scale from the ground: a flat road under the car, seen through the calibration, has a known depth at every pixel.

What stands on the ground is nearer than it, so a robust fit of the plane's inverse depth to the teacher's disparity
says how that becomes metres, without any LiDAR point (as DNet, arXiv 2004.05560, takes its scale).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from cache_schema import LidarView

GROUND_WITHIN_M = 25.0
"""Cells whose ray meets the plane farther away are left out: a degree of pitch would move it by half."""
_ROUNDS = 10
_TOLERANCE = 0.15
"""Of a cell's inverse depth: half the weight is lost where it is off by so much."""
_STEEPEST, _FLATTEST, _FARTHEST = 5.0, 1e-3, 0.2
"""Limits of the scale and of the shift, in 1/m over the range of u."""

_NEAR_M = 12.0
_BIN_M = 0.1
_FEWEST = 200


def ground_inverse_depth(
    intrinsics_px: Float32[np.ndarray, "V 3 3"],
    rig_from_camera: Float64[np.ndarray, "V 4 4"],
    ground_z_m: float,
    native_size: tuple[int, int],
    grid: tuple[int, int],
) -> Float32[np.ndarray, "V h w"]:
    """1/z (1/m) of the plane at height `ground_z_m` of the rig frame, at the cells' centres; 0 above the horizon."""
    rows, columns = (
        (np.arange(cells) + 0.5) * pixels / cells - 0.5 for cells, pixels in zip(grid, native_size, strict=True)
    )
    v, u = np.meshgrid(rows, columns, indexing="ij")
    pixels = np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    rays = np.linalg.inv(intrinsics_px.astype(np.float64)) @ pixels  # z = 1 in the camera's frame
    climb = (rig_from_camera[:, None, 2, :3] @ rays)[:, 0]  # metres upwards for each metre of depth
    above_m = rig_from_camera[:, 2, 3] - ground_z_m
    inverse = np.where(above_m[:, None] > 0, -climb / np.where(above_m > 0, above_m, 1)[:, None], 0)
    return np.clip(inverse, 0, None).reshape(-1, *grid).astype(np.float32)


def fit_ground(
    u: Float[Tensor, "*N h w"], inverse_depth: Float[Tensor, "*N h w"], world: Bool[Tensor, "*N h w"]
) -> Float[Tensor, "*N 3"]:
    """Scale and shift (1/m) of the plane's inverse depth ≈ scale · u + shift, and the share of cells that agree.

    Over the cells with `world` that may see ground within `GROUND_WITHIN_M`; all 0 where there are none.
    """
    usable = (world & (inverse_depth > 1 / GROUND_WITHIN_M)).to(u.dtype)
    seen, plane, usable_cells = u.flatten(-2), inverse_depth.flatten(-2), usable.flatten(-2)
    scale, shift = _line(*_rows(u, inverse_depth, usable > 0))
    for _ in range(_ROUNDS):
        off = (scale * seen + shift - plane) / (_TOLERANCE * plane + 1e-3)
        agree = usable_cells / (1 + off.square())
        scale, shift = _line(seen, plane, agree.square())  # Geman and McClure's weights: what is far off has none
    share = agree.sum(-1, keepdim=True) / usable_cells.sum(-1, keepdim=True).clamp(min=1)
    found = torch.cat([scale.clamp(_FLATTEST, _STEEPEST), shift.clamp(-_FARTHEST, _FARTHEST), share], -1)
    return torch.where(usable_cells.any(-1, keepdim=True), found, 0)


def _rows(
    u: Float[Tensor, "*N h w"], inverse_depth: Float[Tensor, "*N h w"], usable: Bool[Tensor, "*N h w"]
) -> tuple[Float[Tensor, "*N h"], Float[Tensor, "*N h"], Float[Tensor, "*N h"]]:
    """The medians of each row's usable cells and their number: things on the ground seldom fill half of a row."""
    number = usable.sum(-1)
    middle = [each.masked_fill(~usable, torch.nan).nanmedian(-1).values.nan_to_num(0) for each in (u, inverse_depth)]
    return middle[0], middle[1], number.to(u.dtype)


def _line(
    x: Float[Tensor, "*N P"], y: Float[Tensor, "*N P"], weight: Float[Tensor, "*N P"]
) -> tuple[Float[Tensor, "*N 1"], Float[Tensor, "*N 1"]]:
    """Scale and shift of y ≈ scale · x + shift by weighted least squares."""
    total = weight.sum(-1, keepdim=True).clamp(min=1e-6)
    mean_x, mean_y = ((weight * each).sum(-1, keepdim=True) / total for each in (x, y))
    variance = (weight * (x - mean_x).square()).sum(-1, keepdim=True).clamp(min=1e-8)
    scale = (weight * (x - mean_x) * (y - mean_y)).sum(-1, keepdim=True) / variance
    return scale, mean_y - scale * mean_x


def ground_height(
    lidar: Sequence[LidarView],
    intrinsics_px: Float32[np.ndarray, "V 3 3"],
    rig_from_camera: Float64[np.ndarray, "V 4 4"],
) -> float | None:
    """Height z (m) of the ground in the rig frame, where most of the LiDAR points near the car lie; None with few."""
    heights = []
    for points, k, pose in zip(lidar, intrinsics_px.astype(np.float64), rig_from_camera, strict=True):
        pixels = np.concatenate([points.uv_px, np.ones((len(points.uv_px), 1))], axis=1)
        seen = (pixels @ np.linalg.inv(k).T) * points.depth_m[:, None]
        placed = seen @ pose[:3, :3].T + pose[:3, 3]
        below = (np.hypot(placed[:, 0], placed[:, 1]) < _NEAR_M) & (placed[:, 2] < pose[2, 3] - 0.5)
        heights.append(placed[below, 2])
    z = np.concatenate(heights)
    if len(z) < _FEWEST:
        return None
    steps = np.floor(z / _BIN_M).astype(int)
    counts = np.bincount(steps - steps.min())
    fullest = (counts.argmax() + steps.min()) * _BIN_M
    return float(np.median(z[(z >= fullest - _BIN_M) & (z < fullest + 2 * _BIN_M)]))
