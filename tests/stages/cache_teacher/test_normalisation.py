"""Three ways from a disparity of unknown scale and shift to u: what they share, and what each is for."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cache_schema import TargetSpec
from cache_schema.manifest import Normalisation
from cache_schema.soft_targets import FAR_U
from stages.cache_teacher.normalisation import MEDIANS, fit_normaliser

WAYS = get_args(Normalisation)
SIZE = (2, 6, 8)
every_way = pytest.mark.parametrize("way", WAYS)

disparities = arrays(np.int64, SIZE, elements=st.integers(0, 300)).map(lambda steps: steps / 100)


def spec(way: str, quantiles: tuple[float, float] = (0.02, 0.98)) -> TargetSpec:
    return TargetSpec(height=SIZE[1], width=SIZE[2], normalisation=way, quantiles=quantiles)


def everywhere(shape: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.ones(shape, bool)


def u_of(way: str, disparity: np.ndarray, mask: np.ndarray | None = None, **settings: object) -> np.ndarray:
    mask = everywhere(disparity.shape) if mask is None else mask
    return fit_normaliser(disparity, mask, spec(way, **settings))(disparity)  # type: ignore[arg-type]


def row(*values: float) -> np.ndarray:
    return np.array(values, float).reshape(1, 1, -1)


def far_from_the_limit(disparity: np.ndarray) -> bool:
    """Whether no pixel lies just where the sky ends: rounding would decide on which side."""
    low, high = np.quantile(disparity, (0.02, 0.98), axis=(1, 2), keepdims=True)
    return bool((np.abs(disparity - low - FAR_U * (high - low)) > 1e-6).all())


@every_way
@given(disparity=disparities, a=st.floats(0.1, 10), b=st.floats(-20, 20))
def test_scale_and_shift_do_not_matter(way: str, disparity: np.ndarray, a: float, b: float) -> None:
    assume(far_from_the_limit(disparity))
    u = u_of(way, disparity)
    assert ((u >= 0) & (u <= 1)).all()
    np.testing.assert_allclose(u_of(way, a * disparity + b), u, atol=1e-6)


@every_way
@given(disparity=disparities)
def test_nearer_is_never_less(way: str, disparity: np.ndarray) -> None:
    for d, u in zip(disparity, u_of(way, disparity), strict=True):
        order = np.argsort(d, axis=None, kind="stable")
        assert (np.diff(u.ravel()[order]) >= 0).all()


@every_way
@given(disparity=disparities, car=disparities)
def test_the_own_car_has_no_say(way: str, disparity: np.ndarray, car: np.ndarray) -> None:
    mask = everywhere()
    mask[:, -2:] = False
    with_car = np.where(mask, disparity, 7 * car - 5)
    np.testing.assert_array_equal(u_of(way, with_car, mask)[mask], u_of(way, disparity, mask)[mask])


@every_way
def test_a_constant_view_and_one_with_a_single_pixel_say_nothing(way: str) -> None:
    disparity = np.random.default_rng(0).random(SIZE)
    disparity[0] = 3.0
    mask = everywhere()
    mask[1] = False
    mask[1, 2, 3] = True
    normalise = fit_normaliser(disparity, mask, spec(way))
    assert normalise.constant.all()
    np.testing.assert_array_equal(normalise(disparity), 0.5)


@every_way
def test_a_view_that_the_car_covers_whole_is_judged_by_all_its_pixels(way: str) -> None:
    disparity = np.random.default_rng(0).random(SIZE)
    covered = np.zeros(SIZE, bool)
    np.testing.assert_array_equal(u_of(way, disparity, covered), u_of(way, disparity))


@every_way
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_sky_is_at_the_far_end_however_much_there_is_of_it(way: str, share: float) -> None:
    disparity = np.random.default_rng(0).uniform(0.2, 1, (1, 20, 20))
    sky = np.arange(20) < share * 20
    disparity[:, sky] = 0
    u = u_of(way, disparity)
    assert u[:, sky].max() <= FAR_U < u[:, ~sky].min()


@pytest.mark.parametrize("way", ["quantiles", "median"])
def test_u_is_linear_in_the_disparity_up_to_the_near_end(way: str) -> None:
    disparity = np.random.default_rng(0).uniform(1, 2, SIZE)
    for d, u in zip(disparity, u_of(way, disparity), strict=True):
        inside = (u > 0) & (u < 1)
        assert inside.sum() > 40
        slope, offset = np.polyfit(d[inside], u[inside], 1)
        np.testing.assert_allclose(u[inside], slope * d[inside] + offset, atol=1e-9)


def test_the_median_of_what_is_nearer_than_the_sky_sets_the_scale() -> None:
    u = u_of("median", row(0, 0, 1, 2, 3, 4), quantiles=(0, 1))
    np.testing.assert_allclose(u, row(0, 0, 1, 2, 3, 4) / (MEDIANS * 2.5))


def test_a_car_close_by_moves_the_rest_by_quantiles_and_not_by_the_median() -> None:
    street, with_car = row(0, 1, 2, 3, 4), row(0, 1, 2, 3, 40)
    same = u_of("median", with_car, quantiles=(0, 1))
    np.testing.assert_allclose(same[..., :4], u_of("median", street, quantiles=(0, 1))[..., :4])
    assert same[..., 4] == 1
    pushed = u_of("quantiles", with_car, quantiles=(0, 1))
    np.testing.assert_allclose(10 * pushed[..., :4], u_of("quantiles", street, quantiles=(0, 1))[..., :4])


def test_a_rank_is_the_share_of_pixels_that_are_farther() -> None:
    u = u_of("rank", row(0, 0.1, 10, 20, 20, 40), quantiles=(0, 1))
    shares = np.array([1, 4, 4, 7]) / 8  # those alike share a rank
    np.testing.assert_allclose(u[0, 0], [0, 0.1 / 40, *(FAR_U + (1 - FAR_U) * shares)])
    disparity = np.random.default_rng(0).exponential(1, (1, 50, 60)) + 1
    u = u_of("rank", disparity)
    ranked = disparity[u > FAR_U]
    farther = np.searchsorted(np.sort(ranked), ranked) / len(ranked)
    np.testing.assert_allclose(u[u > FAR_U], FAR_U + (1 - FAR_U) * farther, atol=0.02)


def test_ranks_fill_uniform_bins_evenly() -> None:
    disparity = np.random.default_rng(0).exponential(1, (1, 60, 80)) + 0.3
    counts, _ = np.histogram(u_of("rank", disparity), bins=16, range=(FAR_U, 1))
    np.testing.assert_allclose(counts, counts.mean(), rtol=0.2)


def test_rounding_does_not_make_ranks_of_what_is_alike() -> None:
    wall = np.random.default_rng(0).uniform(0, 1, (1, 20, 20))
    wall[:, 10:] = 0.5 + np.random.default_rng(1).uniform(-1e-7, 1e-7, (10, 20))
    assert np.ptp(u_of("rank", wall)[:, 10:]) < 1e-3
