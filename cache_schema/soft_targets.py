"""Soft targets: probabilities over bins of normalised disparity, and the three ways they are stored.

u in [0, 1] is the disparity of a view, normalised so that scale and shift fall out: 0 far, 1 near. A teacher that
predicts one value per pixel is stored as the mean and spread of u; its bin probabilities are

    p[k] = softmax_k( −(u_k − mean)² / (2 · spread²) )

for any set of bin positions u_k. A teacher with a bin head has several modes and is stored as its most
probable bins, or densely. `expand` gives probabilities whatever the encoding, on numpy and torch alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float

from cache_schema.manifest import BinSpec, TargetSpec

MEAN_STEPS = 64
"""Codes of the mean in the narrowest spread: what the format can hold. The encoder keeps fewer, see `groomed`."""

KEPT_MEAN_STEPS = 32
"""Values of the mean that are kept in the target's own spread: steps of D cost D²/(24 spread²) = 4.1e-5 nats."""

KEPT_SPREAD_STEP = 0.025
"""Widest step of log spread that the encoder may make of several codes: steps of E cost E²/12 = 5.2e-5 nats."""

SPREAD_CODES = 254  # the largest code; the next one is the fill value
PROBABILITY_CODES = 254
SPREAD_MAX = 0.5
"""A spread of half the range says nothing about u; wider ones are stored as this."""

FAR_U = 0.02
"""At or below this u a pixel is sky or very far, whatever the normalisation."""


@dataclass(frozen=True)
class Moments:
    """Target of a teacher that predicts one value per pixel."""

    mean: Float[np.ndarray, "*view h w"]
    spread: Float[np.ndarray, "*view h w"]


@dataclass(frozen=True)
class Probabilities:
    """Target of a teacher with a bin head, on the K bins of the specification; sums to 1 over k."""

    probability: Float[np.ndarray, "*view k h w"]


def bin_positions(bins: BinSpec) -> Float[np.ndarray, "k"]:
    """Positions u_k of the bins, ascending."""
    k = np.arange(bins.count)
    if bins.spacing == "uniform":
        return (k + 0.5) / bins.count
    return (k / (bins.count - 1)) ** bins.exponent


def certain_spread(u: Any, bins: BinSpec) -> Any:
    """σ of a target without doubt at u: `sigma_widths` times the local width of a bin. Any float array."""
    if bins.spacing == "uniform":
        return u * 0 + bins.sigma_widths / bins.count
    xp = array_namespace(u)
    steps = bins.count - 1
    t = xp.clip(u ** (1 / bins.exponent), 0.5 / steps, 1.0)
    return bins.sigma_widths * bins.exponent * t ** (bins.exponent - 1) / steps


def spread_limits(bins: BinSpec) -> tuple[float, float]:
    """Smallest and largest spread that the `moments` encoding can hold; apart even where bins are very few."""
    narrowest = float(certain_spread(np.asarray([0.0, 1.0]), bins).min())
    return min(narrowest, SPREAD_MAX / 2), SPREAD_MAX


def mean_codes(bins: BinSpec) -> int:
    """The largest code of a mean, which stands for u = 1."""
    return min(int(np.ceil(MEAN_STEPS / spread_limits(bins)[0])), 65534)  # 65535 is the fill value


def encode(target: Moments | Probabilities, spec: TargetSpec) -> dict[str, np.ndarray]:
    """Arrays to store for a target, named as in the table of arrays."""
    if spec.encoding == "moments":
        return _encode_moments(target if isinstance(target, Moments) else moments_of(target, spec.bins), spec.bins)
    dense = (
        target.probability if isinstance(target, Probabilities) else normal_bins(target.mean, target.spread, spec.bins)
    )
    if spec.encoding == "topk":
        return _encode_topk(dense, spec.topk)
    return {"bin_prob_dense": dense.astype(np.float16)}


def expand(encoded: Mapping[str, Any], spec: TargetSpec) -> Any:
    """Bin probabilities (…, K, h, w) as float32 from the stored arrays (numpy or torch), any leading axes."""
    if spec.encoding == "moments":
        return normal_bins(*decode_moments(encoded, spec.bins), spec.bins)
    if spec.encoding == "topk":
        return _expand_topk(encoded["bin_index"], encoded["bin_prob"], spec.bins.count)
    dense = encoded["bin_prob_dense"]
    xp = array_namespace(dense)
    dense = xp.astype(dense, xp.float32)
    return dense / xp.sum(dense, axis=-3, keepdims=True)


def says_nothing(encoded: Mapping[str, Any]) -> Any:
    """Which views (…, V) have the same target at every pixel: nothing of their shape is known. numpy or torch.

    So stage 1 stores a view of which the teacher knew nothing; whoever learns leaves it out.
    """
    return reduce(and_, [_alike(name, array) for name, array in encoded.items()])


def normal_bins(mean: Any, spread: Any, bins: BinSpec) -> Any:
    """Bin probabilities (…, K, h, w) of a normal target, from mean and spread (…, h, w)."""
    xp = array_namespace(mean)
    u = xp.asarray(bin_positions(bins), dtype=mean.dtype, device=device(mean))[:, None, None]
    logits = -0.5 * ((u - mean[..., None, :, :]) / spread[..., None, :, :]) ** 2
    if hasattr(xp, "softmax"):  # torch, three times as fast in one go
        return xp.softmax(logits, -3)
    p = xp.exp(logits - xp.max(logits, axis=-3, keepdims=True))
    return p / xp.sum(p, axis=-3, keepdims=True)


def decode_moments(encoded: Mapping[str, Any], bins: BinSpec) -> tuple[Any, Any]:
    """Mean and spread (…, h, w) as float32 from their codes."""
    xp = array_namespace(encoded["bin_mean"])
    low, high = spread_limits(bins)
    # torch cannot compute in uint16, so both codes become float32 at once
    mean = xp.astype(encoded["bin_mean"], xp.float32) / mean_codes(bins)
    spread = low * xp.exp(xp.astype(encoded["bin_spread"], xp.float32) * float(np.log(high / low) / SPREAD_CODES))
    return mean, spread


def moments_of(target: Probabilities, bins: BinSpec) -> Moments:
    """Mean and spread of bin probabilities: the closest a single mode comes to them."""
    mean = expected_position(target.probability, bins)
    u = bin_positions(bins)[:, None, None]
    variance = (target.probability * (u - mean[..., None, :, :]) ** 2).sum(axis=-3)
    return Moments(mean, np.sqrt(variance))


def expected_position(probability: Any, bins: BinSpec) -> Any:
    """Σ_k p[k] · u_k: the expected normalised disparity (…, h, w)."""
    xp = array_namespace(probability)
    u = xp.asarray(bin_positions(bins), dtype=probability.dtype, device=device(probability))
    return xp.sum(probability * u[:, None, None], axis=-3)


def groomed(code: np.ndarray, widest_step: np.ndarray | float, largest: int) -> np.ndarray:
    """Codes rounded to multiples of the largest power of two within `widest_step`, so that zstd gets zeros to squeeze.

    No code moves by more than half a step; 0 and `largest` stay, and steps below 2 round to whole codes. The bits
    that go say nothing, as in the bit rounding of Klöwer et al. 2021, "Compressing atmospheric data into its real
    information content", doi:10.1038/s43588-021-00156-2; what they mean is unchanged, so no reader needs to know.

    What it costs is the divergence of two normal distributions, d²/(2 spread²) where the mean moves by d and e² where
    log spread moves by e, averaged over the rounding errors of a step (variance step²/12).
    """
    step = np.exp2(np.floor(np.log2(np.maximum(widest_step, 1))))
    rounded = np.rint(code / step) * step
    return np.where(largest - code < np.abs(rounded - code), largest, rounded)


def _alike(name: str, array: Any) -> Any:
    """Views (…, V) whose pixels are all alike in an array (…, V, h, w) of `moments`, or (…, V, k, h, w) of others."""
    same = array == array[..., :1, :1]
    axes = (-2, -1) if name in ("bin_mean", "bin_spread") else (-3, -2, -1)
    return array_namespace(array).all(same, axis=axes)


def _encode_moments(target: Moments, bins: BinSpec) -> dict[str, np.ndarray]:
    low, high = spread_limits(bins)
    spread = np.clip(target.spread, low, high)
    largest = mean_codes(bins)
    mean_code = np.clip(target.mean, 0, 1) * largest
    log_step = np.log(high / low) / SPREAD_CODES
    spread_code = np.log(spread / low) / log_step
    return {
        "bin_mean": groomed(mean_code, spread * largest / KEPT_MEAN_STEPS, largest).astype(np.uint16),
        "bin_spread": groomed(spread_code, KEPT_SPREAD_STEP / log_step, SPREAD_CODES).astype(np.uint8),
    }


def _encode_topk(dense: np.ndarray, k: int) -> dict[str, np.ndarray]:
    order = np.argsort(-dense, axis=-3, kind="stable")[..., :k, :, :]
    probability = np.take_along_axis(dense, order, axis=-3)
    return {
        "bin_index": order.astype(np.uint8),
        "bin_prob": np.rint(probability * PROBABILITY_CODES).astype(np.uint8),
    }


def _expand_topk(index: Any, code: Any, count: int) -> Any:
    xp = array_namespace(index)
    stored = xp.astype(code, xp.float32) / PROBABILITY_CODES
    # Rounding may lift the stored sum to 1 or above; every bin keeps some mass, so that the KL stays finite.
    left = xp.clip(1 - xp.sum(stored, axis=-3, keepdims=True), 1e-3, 1.0)
    bins = xp.arange(count, dtype=index.dtype, device=device(index))[:, None, None]
    chosen = index[..., :, None, :, :] == bins  # (…, rank, K, h, w)
    p = xp.sum(xp.where(chosen, stored[..., :, None, :, :], 0.0), axis=-4)
    p = xp.where(xp.any(chosen, axis=-4), p, left / max(count - index.shape[-3], 1))
    return p / xp.sum(p, axis=-3, keepdims=True)
