"""Soft targets: what is stored gives back the probabilities it was made from, on numpy and torch alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema import BinSpec, TargetSpec
from cache_schema.soft_targets import (
    KEPT_MEAN_STEPS,
    KEPT_SPREAD_STEP,
    SPREAD_CODES,
    SPREAD_MAX,
    Moments,
    Probabilities,
    bin_positions,
    certain_spread,
    decode_moments,
    encode,
    expand,
    expected_position,
    groomed,
    mean_codes,
    normal_bins,
    spread_limits,
)

SPACINGS = [
    BinSpec(count=64, spacing="uniform"),
    BinSpec(count=64, spacing="power"),
    BinSpec(count=2),
    BinSpec(count=255),
]


def spec(bins: BinSpec, encoding: str = "moments", **more: object) -> TargetSpec:
    return TargetSpec.model_validate({"height": 8, "width": 12, "bins": bins, "encoding": encoding, **more})


def normal_target(bins: BinSpec, seed: int = 0) -> Moments:
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0, 1, (3, 8, 12))
    low, high = spread_limits(bins)
    return Moments(mean, np.clip(certain_spread(mean, bins) * rng.uniform(1, 6, mean.shape), low, high))


def doubtful_target(bins: BinSpec, seed: int) -> Moments:
    """Means anywhere and at both ends, spreads from the certain target's to the widest."""
    rng = np.random.default_rng(seed)
    mean = np.clip(rng.uniform(-0.1, 1.1, (1, 30, 40)), 0, 1)
    low, high = spread_limits(bins)
    certain = np.clip(certain_spread(mean, bins), low, high)
    return Moments(mean, certain * (high / certain) ** rng.uniform(0, 1, mean.shape))


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    floor = 1e-8  # below what float16 can hold
    p, q = np.maximum(p.astype(np.float64), floor), np.maximum(q.astype(np.float64), floor)
    total: np.ndarray = np.sum(p * np.log(p / q), axis=-3)
    return total


def mean_kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(kl(p, q).mean())


any_bins = st.builds(
    lambda count, spacing: BinSpec.model_validate({"count": count, "spacing": spacing}),
    st.integers(2, 255),
    st.sampled_from(["uniform", "power"]),
)
seeds = st.integers(0, 2**32 - 1)


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


@settings(deadline=None, max_examples=40)
@given(bins=any_bins, seed=seeds)
def test_moments_lose_no_more_than_their_steps_say(bins: BinSpec, seed: int) -> None:
    target = doubtful_target(bins, seed)
    low, high = spread_limits(bins)
    # The formats of very many bins are coarser than what the encoder would keep.
    mean_step = np.maximum(1 / KEPT_MEAN_STEPS, 1 / (mean_codes(bins) * target.spread))
    spread_step = max(KEPT_SPREAD_STEP, np.log(high / low) / SPREAD_CODES)
    lost = kl(normal_bins(target.mean, target.spread, bins), expand(encode(target, spec(bins)), spec(bins)))
    assert (lost <= 1.05 * (mean_step / 2 / np.sqrt(2) + spread_step / 2) ** 2).all()
    assert lost.mean() <= 1.15 * (mean_step**2 / 24 + spread_step**2 / 12).mean()


@settings(deadline=None, max_examples=40)
@given(seed=seeds, doubt=st.floats(0, 1))
def test_the_default_bins_lose_less_than_a_ten_thousandth_of_a_nat(seed: int, doubt: float) -> None:
    bins = BinSpec()
    target = doubtful_target(bins, seed)
    certain = certain_spread(target.mean, bins)
    target = Moments(target.mean, certain * (target.spread / certain) ** doubt)
    p = expand(encode(target, spec(bins)), spec(bins))
    assert mean_kl(normal_bins(target.mean, target.spread, bins), p) < 1e-4


@settings(deadline=None, max_examples=40)
@given(bins=any_bins, seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_no_code_moves_by_more_than_half_its_step(bins: BinSpec, seed: int, dtype: type) -> None:
    made = doubtful_target(bins, seed)
    target = Moments(made.mean.astype(dtype), made.spread.astype(dtype))
    stored = encode(target, spec(bins))
    low, high = spread_limits(bins)
    largest, log_step = mean_codes(bins), np.log(high / low) / SPREAD_CODES
    rounding = 0.01  # of a code, by float32
    moved = np.abs(stored["bin_mean"] - made.mean * largest)
    assert (moved <= np.maximum(made.spread * largest / KEPT_MEAN_STEPS, 1) / 2 + rounding).all()
    moved = np.abs(stored["bin_spread"] - np.log(made.spread / low) / log_step)
    assert (moved <= max(KEPT_SPREAD_STEP / log_step, 1) / 2 + rounding).all()


@settings(deadline=None, max_examples=100)
@given(code=st.floats(0, 1), widest_step=st.floats(0.01, 300), largest=st.integers(1, 65534))
def test_groomed_codes_end_in_zeros_or_are_the_largest(code: float, widest_step: float, largest: int) -> None:
    exact = np.asarray(code * largest)
    found = groomed(exact, widest_step, largest)
    step = max(2 ** int(np.floor(np.log2(widest_step))), 1)
    assert 0 <= found <= largest
    assert found == largest or found % step == 0
    assert abs(found - exact) <= step / 2
    assert groomed(found, widest_step, largest) == found, "once is enough"


@pytest.mark.parametrize("bins", [*SPACINGS, BinSpec(count=3), BinSpec(count=255, spacing="power")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_ends_and_ignorance_are_held_exactly(bins: BinSpec, dtype: type) -> None:
    ends = np.array([[[0.0, 1.0]]], dtype)
    for spread in spread_limits(bins):
        stored = encode(Moments(ends, np.full_like(ends, spread)), spec(bins))
        mean, found = decode_moments(stored, bins)
        np.testing.assert_array_equal(mean, ends)
        np.testing.assert_allclose(found, spread, rtol=1e-6)


@pytest.mark.parametrize("bins", SPACINGS)
def test_codes_mean_what_the_document_says(bins: BinSpec) -> None:
    codes = {
        "bin_mean": np.linspace(0, mean_codes(bins), 255).astype(np.uint16)[None, None],
        "bin_spread": np.arange(255, dtype=np.uint8)[None, None],
    }
    low, high = spread_limits(bins)
    mean, spread = decode_moments(codes, bins)
    np.testing.assert_allclose(mean, codes["bin_mean"] / mean_codes(bins), atol=1e-7)
    np.testing.assert_allclose(spread, low * (high / low) ** (codes["bin_spread"] / 254), rtol=1e-6)


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
