"""From a batch as it is stored to what the losses compare with; runs on the training device."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float32
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate

from cache_schema import BinSpec, TargetSpec
from cache_schema.soft_targets import (
    bin_positions,
    certain_spread,
    decode_moments,
    expand,
    expected_position,
    says_nothing,
)
from stages.train.augment.window import look_through
from stages.train.batch import EncodedTargets
from stages.train.losses import TeacherTargets
from stages.train.student import StudentConfig

DOUBT = 0.125
"""Standard deviation of the inverse depth, as a part of it, from which on a metric label is left out."""
ANY_SHARE = 1e-4
"""Of a cell's target that may come from what is left out: the rounding of the places of windows, no more."""


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
    certain: bool = False,
    windows: Float32[Tensor, "B 3"] | None = None,
    limits_m: tuple[float, float] | None = None,
) -> TeacherTargets:
    """The teacher's probabilities and relations on `grid` = (h, w), of whole views or through `windows`.

    The losses leave out cells with any of the own car (`world` False) and, unless `sky_u` is none, with any sky; and
    whole views of which the teacher says nothing.
    `certain` asks for the certainty too, `limits_m` for depths in metres between these.
    """
    probability = expand(targets.encoded, spec)
    sky = None if sky_u is None else is_sky(targets, probability, spec, sky_u)
    if windows is None:
        resampled = resample(probability, grid)
        mask = ~cells_with(~world, grid)
        if sky is not None:
            mask &= ~cells_with(sky, grid)
    else:
        resampled = look_through(probability, windows, grid)
        left_out = cells_with(~world, (spec.height, spec.width))
        if sky is not None:
            left_out |= sky
        mask = look_through(left_out.float()[:, :, None], windows, grid)[:, :, 0] < ANY_SHARE
    says = ~says_nothing(targets.encoded)
    mask &= says[..., None, None]
    found = TeacherTargets(
        probability=resampled,
        disparity=expected_position(resampled, spec.bins),
        certainty=certainty(resampled, spec.bins) if certain else None,
        mask=mask,
        view_relation=targets.view_relation.float(),
        pairs=pairs,
        token_grid=spec.token_grid,
        relation_of=spec.relation_of,
        features=None if targets.feature is None else targets.feature.float(),
        whole=targets.whole & says,
        says=says,
    )
    if limits_m is None or targets.scale_shift is None:
        return found
    return replace(
        found,
        depth_m=metric_labels(resampled, targets.scale_shift, mask, spec.bins, limits_m),
        centres_m=metric_centres(targets.scale_shift, spec.bins, limits_m),
    )


def metric_labels(
    probability: Float32[Tensor, "B V K h w"],
    scale_shift: Float32[Tensor, "B V 2"],
    mask: Bool[Tensor, "B V h w"],
    bins: BinSpec,
    limits_m: tuple[float, float],
) -> Float32[Tensor, "B V h w"]:
    """Σ p_T·c_T, the harmonic mean, in metres; 0 outside `mask` and the limits, and where the teacher is in doubt.

    That is where what its spread exceeds that of a certain target by is over `DOUBT` of the inverse depth: so much
    two test-time views that differ by twice that leave.
    """
    u, variance = moments(probability, bins)
    scale, shift = (each[..., None, None] for each in scale_shift.unbind(dim=-1))
    inverse = scale * u + shift
    excess = (variance - certain_spread(u.clamp(0, 1), bins).square()).clamp(min=0)
    sure = scale * excess.sqrt() < DOUBT * inverse
    inside = (inverse > 1 / limits_m[1]) & (inverse < 1 / limits_m[0])
    return torch.where(mask & sure & inside, 1 / inverse.clamp(min=1 / limits_m[1]), 0)


def metric_centres(
    scale_shift: Float32[Tensor, "B V 2"], bins: BinSpec, limits_m: tuple[float, float]
) -> Float32[Tensor, "B V K"]:
    """c_T, the depths of the bins of each view: 1/(scale · u_k + shift) in metres, within the limits."""
    scale, shift = (each[..., None] for each in scale_shift.unbind(dim=-1))
    inverse = scale * torch.from_numpy(bin_positions(bins)).to(scale_shift) + shift
    return inverse.clamp(1 / limits_m[1], 1 / limits_m[0]).reciprocal()


def moments(
    probability: Float32[Tensor, "B V K h w"], bins: BinSpec
) -> tuple[Float32[Tensor, "B V h w"], Float32[Tensor, "B V h w"]]:
    """Mean and variance of u."""
    mean = expected_position(probability, bins)
    positions = torch.from_numpy(bin_positions(bins)).to(probability)[:, None, None]
    return mean, (probability * (positions - mean[..., None, :, :]).square()).sum(dim=2)


def certainty(probability: Float32[Tensor, "B V K h w"], bins: BinSpec) -> Float32[Tensor, "B V h w"]:
    """The spread of a target without doubt as a share of the target's own, at most 1."""
    mean, variance = moments(probability, bins)
    share: Tensor = certain_spread(mean.clamp(0, 1), bins) / variance.sqrt().clamp(min=1e-6)
    return share.clamp(max=1)


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


def cells_with(marked: Bool[Tensor, "B V H W"], grid: tuple[int, int]) -> Bool[Tensor, "B V h w"]:
    """Cells of another grid that hold any marked pixel."""
    return adaptive_max_pool2d(marked.float(), grid) > 0


def is_sky(
    targets: EncodedTargets, probability: Float32[Tensor, "B V K h0 w0"], spec: TargetSpec, sky_u: float
) -> Bool[Tensor, "B V h0 w0"]:
    """Pixels whose target lies at or below normalised disparity `sky_u`: its mean where that is stored, else its mode.

    Not the expected position of the probabilities: [0, 1] cuts a target near 0 off on one side, so the more
    doubt it holds the farther from 0 that lies.
    """
    if spec.encoding == "moments":
        mean: Tensor = decode_moments(targets.encoded, spec.bins)[0]
        return mean <= sky_u
    positions = torch.from_numpy(bin_positions(spec.bins)).to(probability)
    mode: Tensor = positions[probability.argmax(dim=2)]
    return mode <= sky_u
