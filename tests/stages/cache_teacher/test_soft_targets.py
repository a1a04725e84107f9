"""Soft targets: what does not change when the teacher's scale does, and what widens when the teacher doubts."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch

from cache_schema import BinSpec, TargetSpec
from cache_schema.manifest import Normalisation
from cache_schema.soft_targets import (
    SPREAD_MAX,
    Moments,
    Probabilities,
    certain_spread,
    encode,
    expand,
    expected_position,
)
from stages.cache_teacher.soft_targets import soft_target
from stages.cache_teacher.teachers.base import BinPrediction, PointPrediction

BINS = [BinSpec(count=64, spacing="uniform"), BinSpec(count=64, spacing="power")]
VIEWS, GRID = 2, (24, 40)


def spec(bins: BinSpec, encoding: str = "dense", normalisation: str = "quantiles") -> TargetSpec:
    settings = {"bins": bins, "encoding": encoding, "normalisation": normalisation}
    return TargetSpec.model_validate({"height": GRID[0], "width": GRID[1], **settings})


def disparity(seed: int = 0, size: tuple[int, int] = (70, 119)) -> torch.Tensor:
    """Smooth disparities with a sky of zero and a few outliers, like a teacher's."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 3, size[1]), indexing="ij")
    views = np.stack([np.maximum(y - 0.3, 0) * (2 + np.sin(4 * x + view)) for view in range(VIEWS)])
    views[:, rng.integers(size[0], size=5), rng.integers(size[1], size=5)] = 9
    return torch.from_numpy(views)


def everywhere() -> np.ndarray:
    return np.ones((VIEWS, *GRID), bool)


def probabilities(values: torch.Tensor, bins: BinSpec) -> np.ndarray:
    target, _ = soft_target([PointPrediction(values)], everywhere(), spec(bins))
    return np.asarray(expand(encode(target, spec(bins, "moments")), spec(bins, "moments")))


@pytest.mark.parametrize("normalisation", get_args(Normalisation))
@pytest.mark.parametrize("bins", BINS, ids=lambda b: b.spacing)
@pytest.mark.parametrize(("a", "b"), list(itertools.product((0.01, 7.0), (-3.0, 50.0))))
def test_scale_and_shift_of_the_disparity_do_not_matter(normalisation: str, bins: BinSpec, a: float, b: float) -> None:
    d, how = disparity(), spec(bins, normalisation=normalisation)
    changed, _ = soft_target([PointPrediction(a * d + b)], everywhere(), how)
    plain, _ = soft_target([PointPrediction(d)], everywhere(), how)
    assert isinstance(changed, Moments)
    assert isinstance(plain, Moments)
    before, after = (expand(encode(t, spec(bins)), spec(bins)) for t in (plain, changed))
    assert np.abs(before - after).max() < 1e-3
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)


def test_nearer_is_higher() -> None:
    u = expected_position(probabilities(disparity(), BINS[0]), BINS[0])
    assert u[:, -1].mean() > 0.5 > u[:, 0].mean()


def test_disagreement_between_test_time_views_widens_the_target() -> None:
    d = disparity()
    noisy = d + torch.from_numpy(np.random.default_rng(1).normal(0, 0.3, d.shape))
    alone, _ = soft_target([PointPrediction(d), PointPrediction(2 * d + 1)], everywhere(), spec(BINS[0]))
    doubtful, _ = soft_target([PointPrediction(d), PointPrediction(noisy)], everywhere(), spec(BINS[0]))
    assert isinstance(alone, Moments)
    assert isinstance(doubtful, Moments)
    np.testing.assert_allclose(alone.spread, certain_spread(alone.mean, BINS[0]), rtol=1e-6)
    assert (doubtful.spread > 1.1 * alone.spread).mean() > 0.5


def test_test_time_views_may_differ_in_resolution() -> None:
    target, _ = soft_target(
        [PointPrediction(disparity()), PointPrediction(disparity(size=(140, 238)))], everywhere(), spec(BINS[0])
    )
    assert isinstance(target, Moments)
    assert target.mean.shape == (VIEWS, *GRID)


def test_the_own_car_does_not_set_the_scale() -> None:
    d = disparity()
    with_car = d.clone()
    with_car[:, -12:] = 500.0
    mask = everywhere()
    mask[:, -6:] = False
    clean, _ = soft_target([PointPrediction(d)], mask, spec(BINS[0]))
    masked, _ = soft_target([PointPrediction(with_car)], mask, spec(BINS[0]))
    unmasked, _ = soft_target([PointPrediction(with_car)], everywhere(), spec(BINS[0]))
    assert isinstance(clean, Moments)
    assert isinstance(masked, Moments)
    assert isinstance(unmasked, Moments)
    np.testing.assert_allclose(masked.mean[:, :-8], clean.mean[:, :-8], atol=1e-9)
    assert np.abs(unmasked.mean[:, :-8] - clean.mean[:, :-8]).max() > 0.5


def test_a_view_without_contrast_says_nothing_and_a_covered_one_is_judged_whole() -> None:
    d = disparity()
    d[0] = 3.0
    mask = everywhere()
    mask[1] = False
    target, _ = soft_target([PointPrediction(d)], mask, spec(BINS[0]))
    assert isinstance(target, Moments)
    np.testing.assert_array_equal(target.mean[0], 0.5)
    np.testing.assert_array_equal(target.spread[0], SPREAD_MAX)
    assert np.ptp(target.mean[1]) > 0.9


@pytest.mark.parametrize("bins", BINS, ids=lambda b: b.spacing)
def test_a_bin_head_keeps_its_modes_on_our_bins(bins: BinSpec) -> None:
    """Two bins per pixel, one near and one far, at 70 % and 30 %."""
    ramp = torch.linspace(0.01, 0.5, GRID[1]).expand(VIEWS, *GRID)
    centre = torch.stack([ramp, ramp.flip(-1)], dim=1).contiguous()
    probability = torch.tensor([0.7, 0.3])[None, :, None, None].expand_as(centre).contiguous()
    target, _ = soft_target([BinPrediction(probability, centre)], everywhere(), spec(bins))
    assert isinstance(target, Probabilities)
    p = target.probability
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)
    edge = p[0, :, 12, 2]  # far at 70 %, near at 30 %
    half = bins.count // 2
    assert edge[:half].sum() == pytest.approx(0.7, abs=0.02)
    assert edge[half:].sum() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("normalisation", get_args(Normalisation))
def test_bin_heads_too_ignore_the_scale_of_their_centres(normalisation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand((VIEWS, 5, *GRID), generator=generator, dtype=torch.float64) + 0.1
    probability = torch.softmax(torch.rand(centre.shape, generator=generator, dtype=torch.float64) * 4, dim=1)
    targets = [
        soft_target(
            [BinPrediction(probability, a * centre + b)], everywhere(), spec(BINS[0], normalisation=normalisation)
        )[0]
        for a, b in ((1.0, 0.0), (0.01, 50.0))
    ]
    before, after = (t.probability for t in targets if isinstance(t, Probabilities))
    assert np.abs(before - after).max() < 1e-3


@pytest.mark.parametrize("normalisation", get_args(Normalisation))
def test_a_bin_head_that_is_sure_says_what_a_point_says(normalisation: str) -> None:
    """All probability in a bin whose centre is the disparity: the same mean u as that disparity gives."""
    how, d = spec(BINS[0], normalisation=normalisation), disparity(size=GRID)
    point, _ = soft_target([PointPrediction(d)], everywhere(), how)
    certain, _ = soft_target([BinPrediction(torch.ones(VIEWS, 1, *GRID), d[:, None])], everywhere(), how)
    assert isinstance(point, Moments)
    assert isinstance(certain, Probabilities)
    inside = (point.mean > 0.1) & (point.mean < 0.9)
    assert inside.mean() > 0.2
    found = expected_position(certain.probability, how.bins)
    np.testing.assert_allclose(found[inside], point.mean[inside], atol=0.01)
