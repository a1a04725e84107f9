"""Soft targets: what is stored gives back the probabilities it was made from, on numpy and torch alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema import BinSpec, TargetSpec
from cache_schema.soft_targets import (
    SPREAD_MAX,
    Moments,
    Probabilities,
    bin_positions,
    certain_spread,
    encode,
    expand,
    expected_position,
    normal_bins,
    spread_limits,
)

SPACINGS = [BinSpec(count=64), BinSpec(count=64, spacing="power"), BinSpec(count=2), BinSpec(count=255)]


def spec(bins: BinSpec, encoding: str = "moments", **more: object) -> TargetSpec:
    return TargetSpec.model_validate({"height": 8, "width": 12, "bins": bins, "encoding": encoding, **more})


def normal_target(bins: BinSpec, seed: int = 0) -> Moments:
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0, 1, (3, 8, 12))
    low, high = spread_limits(bins)
    return Moments(mean, np.clip(certain_spread(mean, bins) * rng.uniform(1, 6, mean.shape), low, high))


def mean_kl(p: np.ndarray, q: np.ndarray) -> float:
    floor = 1e-8  # below what float16 can hold
    p, q = np.maximum(p.astype(np.float64), floor), np.maximum(q.astype(np.float64), floor)
    return float(np.mean(np.sum(p * np.log(p / q), axis=-3)))


@pytest.mark.parametrize("bins", SPACINGS)
def test_positions_ascend_within_the_unit_interval(bins: BinSpec) -> None:
    u = bin_positions(bins)
    assert len(u) == bins.count
    assert (np.diff(u) > 0).all()
    assert u[0] >= 0
    assert u[-1] <= 1


def test_power_spacing_is_finer_far_away() -> None:
    u = bin_positions(BinSpec(count=64, spacing="power"))
    assert u[1] - u[0] < (u[-1] - u[-2]) / 4
    sigma = certain_spread(np.array([0.0, 0.5, 1.0]), BinSpec(count=64, spacing="power"))
    assert (np.diff(sigma) > 0).all()


@pytest.mark.parametrize("bins", SPACINGS)
def test_moments_give_back_the_target_they_store(bins: BinSpec) -> None:
    target = normal_target(bins)
    stored = encode(target, spec(bins))
    assert stored["bin_mean"].dtype == np.uint16
    assert stored["bin_spread"].dtype == np.uint8
    assert stored["bin_mean"].max() < 65535, "the fill value is not a mean"
    assert stored["bin_spread"].max() < 255, "the fill value is not a spread"
    p = expand(stored, spec(bins))
    np.testing.assert_allclose(p.sum(axis=-3), 1, atol=1e-5)
    assert mean_kl(normal_bins(target.mean, target.spread, bins), p) < 1e-4


def test_dense_is_the_reference() -> None:
    bins = SPACINGS[0]
    target = normal_target(bins)
    dense = expand(encode(target, spec(bins, "dense")), spec(bins, "dense"))
    assert mean_kl(normal_bins(target.mean, target.spread, bins), dense) < 1e-6


def test_topk_keeps_the_modes_of_a_bin_head() -> None:
    bins = SPACINGS[0]
    near, far, narrow = np.full((3, 1, 8, 12), [[[[0.8]]], [[[0.2]]], [[[0.01]]]])
    two_modes = 0.6 * normal_bins(near, narrow, bins) + 0.4 * normal_bins(far, narrow, bins)
    stored = encode(Probabilities(two_modes), spec(bins, "topk"))
    assert stored["bin_index"].shape == (1, 8, 8, 12)
    p = expand(stored, spec(bins, "topk"))
    np.testing.assert_allclose(p.sum(axis=-3), 1, atol=1e-5)
    assert p.min() > 0, "every bin keeps some mass, so that a KL stays finite"
    np.testing.assert_allclose(expected_position(p, bins), expected_position(two_modes, bins), atol=0.01)
    single = expand(encode(Probabilities(two_modes), spec(bins, "moments")), spec(bins, "moments"))
    assert mean_kl(two_modes, p) < mean_kl(two_modes, single) / 5, "one mode cannot say what two do"


@pytest.mark.parametrize("encoding", ["moments", "topk", "dense"])
def test_torch_expands_as_numpy_does_with_any_leading_axes(encoding: str) -> None:
    bins = BinSpec(count=16, spacing="power")
    stored = encode(normal_target(bins), spec(bins, encoding))
    expected = expand(stored, spec(bins, encoding))
    batch = {name: torch.from_numpy(np.stack([array, array])) for name, array in stored.items()}
    p = expand(batch, spec(bins, encoding))
    assert p.shape == (2, 3, 16, 8, 12)
    assert p.dtype == torch.float32
    np.testing.assert_allclose(p[1].numpy(), expected, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(
    mean=st.floats(-0.5, 1.5),
    spread=st.floats(0, 3),
    count=st.integers(2, 255),
    spacing=st.sampled_from(["uniform", "power"]),
)
def test_any_target_becomes_a_distribution(mean: float, spread: float, count: int, spacing: str) -> None:
    bins = BinSpec.model_validate({"count": count, "spacing": spacing})
    target = Moments(np.full((1, 1, 1), mean), np.full((1, 1, 1), spread))
    p = expand(encode(target, spec(bins)), spec(bins))
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=-3), 1, atol=1e-5)


def test_spread_limits_hold_the_certain_target_and_ignorance() -> None:
    for bins in [*SPACINGS, BinSpec(count=3)]:
        low, high = spread_limits(bins)
        assert 0 < low < high == SPREAD_MAX
