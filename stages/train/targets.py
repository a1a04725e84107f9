"""From a batch as it is stored to what the losses compare with; runs on the training device."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate

from cache_schema import BinSpec, TargetSpec
from cache_schema.soft_targets import certain_spread, expand, expected_position, normal_bins
from stages.train.batch import EncodedTargets
from stages.train.losses import TeacherTargets
from stages.train.student import StudentConfig


def usable_points(lidar_depth_m: Float32[Tensor, "B V H W"], config: StudentConfig) -> Bool[Tensor, "B V H W"]:
    """Pixels with a LiDAR point (0: none) whose depth the student can express."""
    return (lidar_depth_m > config.d_min_m) & (lidar_depth_m < config.d_max_m)


def teacher_targets(
    targets: EncodedTargets,
    world: Bool[Tensor, "B V H W"],
    *,
    spec: TargetSpec,
    pairs: tuple[tuple[int, int], ...],
    grid: tuple[int, int],
    sky_u: float | None,
) -> TeacherTargets:
    """The teacher's probabilities and relations on `grid` = (h, w).

    The KL leaves out cells that the own car (`world` False) touches, and, unless `sky_u` is none, those at or
    below that normalised disparity.
    """
    probability = resample(expand(targets.encoded, spec), grid)
    mask = world_cells(world, grid)
    if sky_u is not None:
        mask &= expected_position(probability, spec.bins) > sky_position(sky_u, spec.bins)
    return TeacherTargets(probability, mask, targets.view_relation.float(), pairs, spec.token_grid)


def resample(probability: Float32[Tensor, "B V K h0 w0"], grid: tuple[int, int]) -> Float32[Tensor, "B V K h w"]:
    """Probabilities on another grid: averages of cells towards a coarser one, else bilinear. They still sum to 1."""
    height, width = probability.shape[-2:]
    if (height, width) == grid:
        return probability
    flat = probability.flatten(0, 1)
    if grid[0] <= height and grid[1] <= width:
        moved = interpolate(flat, size=grid, mode="area")
    else:
        moved = interpolate(flat, size=grid, mode="bilinear", align_corners=False)
    return moved.reshape(*probability.shape[:3], *grid)


def world_cells(world: Bool[Tensor, "B V H W"], grid: tuple[int, int]) -> Bool[Tensor, "B V h w"]:
    """Cells of a coarser grid that hold no pixel of the own car."""
    return adaptive_max_pool2d((~world).float(), grid) == 0


def sky_position(sky_u: float, bins: BinSpec) -> float:
    """Expected position Σ p·u of a target without doubt at u = `sky_u`.

    Near the ends of [0, 1] it is not `sky_u` itself: the bins cut the normal distribution off on one side.
    """
    mean = np.full((1, 1), sky_u)
    return float(expected_position(normal_bins(mean, certain_spread(mean, bins), bins), bins).item())
