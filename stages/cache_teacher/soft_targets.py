"""From what a teacher predicted to scale-invariant bin probabilities (design: p_T), on the target grid.

Every test-time view is normalised on its own, as `normalisation` says, because a teacher's scale and shift change from
one to the next. Where they disagree the target widens: that is the teacher's own uncertainty, paid once. What
normalisation takes off, the raw scale, is kept beside the target.

The abstract of arXiv 2512.08700 does not fix any of this; the choices are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional as F

from cache_schema import TargetSpec
from cache_schema.soft_targets import (
    SPREAD_MAX,
    Moments,
    Probabilities,
    bin_positions,
    certain_spread,
    normal_bins,
)
from stages.cache_teacher.normalisation import ROUNDING, Normaliser, fit_normaliser
from stages.cache_teacher.teachers.base import BinPrediction, PointPrediction


@dataclass(frozen=True)
class RawScale:
    """The teacher's disparity d = low + u · span in each of P test-time views; both are 0 where it says nothing."""

    low: Float32[np.ndarray, "V P"]
    span: Float32[np.ndarray, "V P"]


def soft_target(
    predictions: Sequence[PointPrediction | BinPrediction],
    mask: Bool[np.ndarray, "V h w"],
    spec: TargetSpec,
    rounding: float = ROUNDING["float32"],
) -> tuple[Moments | Probabilities, RawScale]:
    """The target of one rig from all test-time views of its teacher, and their scale; `mask` is False on the own car.

    A teacher that predicts one value per pixel gives a normal target: the mean of u over the test-time views,
    and a variance that is the certain target's plus the variance of u over the views. A teacher with a bin head
    gives the average of its probabilities, moved to our bins.

    A view that is constant in any of them, but for the share `rounding`, has a target that says nothing.
    """
    size = (spec.height, spec.width)
    points = [p for p in predictions if isinstance(p, PointPrediction)]
    if points:
        return _normal_target([_to_numpy(_resize(p.disparity, size)) for p in points], mask, spec, rounding)
    moved = [_moved_bins(p, mask, spec, rounding) for p in predictions if isinstance(p, BinPrediction)]
    probability = np.mean([each for each, _ in moved], axis=0)
    for each, normalise in moved:
        probability = np.where(normalise.constant[:, None], each[..., :1, :1], probability)
    return Probabilities(probability), _raw_scale([normalise for _, normalise in moved])


def _raw_scale(normalisers: Sequence[Normaliser]) -> RawScale:
    """Of a view that is constant in one test-time view the target says nothing, so neither does the scale of any."""
    known = ~np.any([normalise.constant for normalise in normalisers], axis=0)
    low, span = (
        np.concatenate([np.where(known, each, 0)[..., 0] for each in values], axis=1).astype(np.float32)
        for values in ([normalise.low for normalise in normalisers], [normalise.span for normalise in normalisers])
    )
    return RawScale(low, span)


def _normal_target(
    disparities: Sequence[Float[np.ndarray, "V h w"]],
    mask: Bool[np.ndarray, "V h w"],
    spec: TargetSpec,
    rounding: float,
) -> tuple[Moments, RawScale]:
    normalisers = [fit_normaliser(d, mask, spec, rounding) for d in disparities]
    u = np.stack([normalise(d) for normalise, d in zip(normalisers, disparities, strict=True)])
    mean = u.mean(axis=0)
    spread = np.sqrt(certain_spread(mean, spec.bins) ** 2 + u.var(axis=0))
    constant = np.any([normalise.constant for normalise in normalisers], axis=0)
    return Moments(np.where(constant, 0.5, mean), np.where(constant, SPREAD_MAX, spread)), _raw_scale(normalisers)


def _moved_bins(
    prediction: BinPrediction, mask: Bool[np.ndarray, "V h w"], spec: TargetSpec, rounding: float
) -> tuple[Float[np.ndarray, "V K h w"], Normaliser]:
    """Probabilities on our bins, from a head whose bins have a centre at every pixel, and how these became u."""
    size = (spec.height, spec.width)
    probability = _to_numpy(_resize(prediction.probability, size))  # V, J, h, w
    centre = _to_numpy(_resize(prediction.centre_disparity, size))
    expected = (probability * centre).sum(axis=1) / probability.sum(axis=1)
    normalise = fit_normaliser(expected, mask, spec, rounding)
    moved = np.zeros((len(centre), spec.bins.count, *size))
    for j in range(centre.shape[1]):
        _add_mass(moved, normalise(centre[:, j]), probability[:, j], bin_positions(spec.bins))
    return _widen(moved / moved.sum(axis=1, keepdims=True), spec), normalise


def _add_mass(moved: np.ndarray, u: np.ndarray, mass: np.ndarray, positions: np.ndarray) -> None:
    """Share the mass at u between the two bins around it, so that the mean of u is kept."""
    upper = np.clip(np.searchsorted(positions, u), 1, len(positions) - 1)
    gap = positions[upper] - positions[upper - 1]
    share = np.clip((u - positions[upper - 1]) / gap, 0, 1)
    for index, part in ((upper - 1, 1 - share), (upper, share)):
        at = index[:, None]
        np.put_along_axis(moved, at, np.take_along_axis(moved, at, axis=1) + (mass * part)[:, None], axis=1)


def _widen(probability: np.ndarray, spec: TargetSpec) -> np.ndarray:
    """Give every bin the width of a certain target, as the targets of the other teachers have."""
    u = bin_positions(spec.bins)[:, None, None]
    kernel = normal_bins(u, certain_spread(u, spec.bins), spec.bins)[..., 0, 0]  # from bin, to bin
    widened: np.ndarray = np.einsum("vjhw,jk->vkhw", probability, kernel, optimize=True)
    return widened


def _resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """To the target grid, averaging where the teacher sees finer; (V, …, h, w)."""
    stacked = values if values.ndim == 4 else values[:, None]
    resized = F.interpolate(stacked, size, mode="bilinear", align_corners=False, antialias=True)
    return resized if values.ndim == 4 else resized[:, 0]


def _to_numpy(values: Tensor) -> np.ndarray:
    # In float64, since the scale and shift of a disparity may leave float32 few digits between its quantiles
    return values.detach().cpu().numpy().astype(np.float64)
