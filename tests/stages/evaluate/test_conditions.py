"""Means over the rigs of a condition are those over these rigs alone."""

import numpy as np
import pytest

from stages.evaluate.conditions import condition_scores
from stages.evaluate.metrics import CONSISTENCY, METRICS
from stages.evaluate.rig_scores import RigScores

SCENES = ("a", "a", "b", "c")
BY_SCENE = {"a": ("day", "dry"), "b": ("night", "dry"), "c": ("night", "rain")}


@pytest.fixture
def scores() -> RigScores:
    values = np.random.default_rng(0).random((4, 2, len(METRICS)))
    values[0, 1] = np.nan  # an image without points
    overlap = np.zeros((4, 2, len(METRICS)))
    return RigScores(
        SCENES,
        tuple("0123"),
        ("left", "right"),
        ("left-right",),
        {
            "student/lidar": values,
            "student/dense": values + 1,
            "student/lidar.overlap": overlap,
            "student/lidar.consistency": np.zeros((4, 1, len(CONSISTENCY))),
        },
    )


def test_each_condition_is_the_mean_over_its_rigs(scores: RigScores):
    found = condition_scores(scores, BY_SCENE)
    assert [(s.subject, s.truth, s.condition, s.rigs) for s in found] == [
        ("student", truth, condition, rigs)
        for truth in ("lidar", "dense")
        for condition, rigs in (("day", 2), ("dry", 3), ("night", 2), ("rain", 1))
    ]
    values = scores.values["student/lidar"]
    expected = {
        "day": (values[:2, 0].mean(axis=0) + values[1, 1]) / 2,
        "night": values[2:].mean(axis=(0, 1)),
        "rain": values[3].mean(axis=0),
    }
    for score in found[:4]:
        if score.condition in expected:
            np.testing.assert_allclose(list(score.metrics.values()), expected[score.condition])


def test_rigs_without_any_point_have_no_mean(scores: RigScores):
    scores.values["student/lidar"][3] = np.nan
    rain = next(s for s in condition_scores(scores, BY_SCENE) if s.condition == "rain")
    assert set(rain.metrics.values()) == {None}


def test_a_dataset_that_describes_nothing_has_no_conditions(scores: RigScores):
    assert condition_scores(scores, {}) == ()
