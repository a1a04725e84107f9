"""Soft targets of real frames: the same three promises as on made-up maps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cache_schema import RigFrames, TargetSpec
from cache_schema.soft_targets import Moments, encode, expand, normal_bins
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.soft_targets import soft_target
from stages.cache_teacher.teachers import PointPrediction, load_teacher
from tests.real_data import real_data
from tests.tiny_teachers import write_tiny_teacher

pytestmark = pytest.mark.real_data
SPEC = TargetSpec(height=96, width=160)


@pytest.fixture(scope="module")
def rig() -> RigFrames:
    dataset = DdadDataset(real_data("ddad_sample"))
    return dataset.load("train", dataset.samples("train")[0])


@pytest.fixture(scope="module")
def predictions(rig: RigFrames, tmp_path_factory: pytest.TempPathFactory) -> list[PointPrediction]:
    teacher = load_teacher(str(write_tiny_teacher(tmp_path_factory.mktemp("teacher"))))
    found = [p for p in teacher(rig.images).predictions if isinstance(p, PointPrediction)]
    assert len(found) == 2, "plain and mirrored"
    return [PointPrediction(p.disparity.double()) for p in found]


def target(predictions: list[PointPrediction]) -> Moments:
    made, _ = soft_target(predictions, np.ones((6, 96, 160), bool), SPEC)
    assert isinstance(made, Moments)
    return made


def test_moments_lose_less_than_a_ten_thousandth_of_a_nat(predictions: list[PointPrediction]) -> None:
    made = target(predictions)
    exact = normal_bins(made.mean, made.spread, SPEC.bins)
    stored = np.maximum(expand(encode(made, SPEC), SPEC).astype(np.float64), 1e-300)
    kl = np.sum(np.where(exact > 1e-300, exact * np.log(np.maximum(exact, 1e-300) / stored), 0), axis=1)
    assert kl.mean() < 1e-4
    np.testing.assert_allclose(stored.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("a", "b"), list(itertools.product((0.01, 7.0), (-3.0, 50.0))))
def test_the_teachers_scale_and_shift_do_not_matter(predictions: list[PointPrediction], a: float, b: float) -> None:
    plain = target(predictions)
    changed = target([PointPrediction(a * p.disparity + b) for p in predictions])
    before, after = (normal_bins(t.mean, t.spread, SPEC.bins) for t in (plain, changed))
    assert np.abs(before - after).max() < 1e-3
