"""Metrics of every rig: what is kept, and that the means are theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema.errors import EvaluationError
from stages.evaluate.metrics import METRICS
from stages.evaluate.prediction import ViewPair
from stages.evaluate.rig_scores import (
    RigScores,
    protocol_mean,
    read_rig_scores,
    rig_scores_file,
    weighted_means,
    write_rig_scores,
)
from stages.evaluate.scoring import Scorer
from tests.stages.evaluate.test_scoring import CAMERAS, DDAD, count


def pair(points: int, error: float) -> ViewPair:
    truth = np.linspace(5, 50, points) if points else np.zeros(0)
    return ViewPair(truth, truth * (1 + error))


def scorer_of(errors: list[tuple[float | None, float | None]]) -> Scorer:
    """One rig for each entry: the relative error of both cameras; none has no point."""
    scorer = Scorer("student", "metric", CAMERAS, DDAD)
    for errors_of_rig in errors:
        views = tuple(pair(0, 0) if error is None else pair(7, error) for error in errors_of_rig)
        count(scorer, *views)
    return scorer


ERROR = st.one_of(st.none(), st.floats(-0.9, 3))


@given(st.lists(st.tuples(ERROR, ERROR), min_size=1, max_size=6))
@settings(deadline=None)
def test_the_means_of_the_result_are_those_of_the_rigs(errors: list[tuple[float | None, float | None]]) -> None:
    scorer = scorer_of(errors)
    values, means = scorer.rig_scores()["student/lidar"], scorer.scores()[0].mean.metrics
    assert values.shape == (len(errors), len(CAMERAS), len(METRICS))
    expected = [np.nan if means[name] is None else means[name] for name in METRICS]
    np.testing.assert_allclose(protocol_mean(values), expected, rtol=1e-9, equal_nan=True)


def test_a_weight_counts_a_rig_so_many_times() -> None:
    once = scorer_of([(0.1, 0.2), (0.3, None), (0.5, 0.7)]).rig_scores()["student/lidar"]
    listed = scorer_of([(0.1, 0.2), (0.1, 0.2), (0.5, 0.7)]).rig_scores()["student/lidar"]
    means = weighted_means(once, np.array([[2.0, 0, 1], [0, 1, 0]]))
    np.testing.assert_allclose(means[0], protocol_mean(listed))
    assert means[1][0] == pytest.approx(0.3), "the camera without a point does not count"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    scorer = scorer_of([(0.1, None), (0.3, 0.2)])
    values = scorer.rig_scores()
    scores = RigScores(("a", "b"), ("0", "1"), CAMERAS, (), values, scorer.rig_points())
    file = rig_scores_file(tmp_path / "metrics-test.json")
    write_rig_scores(file, scores)
    first = file.read_bytes()
    write_rig_scores(file, scores)
    assert (file.name, file.read_bytes()) == ("metrics-test.npz", first)
    read = read_rig_scores(file)
    assert (read.scenes, read.samples, read.cameras, read.pairs) == (("a", "b"), ("0", "1"), CAMERAS, ())
    np.testing.assert_allclose(read.of("student")["lidar"], values["student/lidar"], rtol=1e-6)
    assert np.isnan(read.of("student")["lidar"][0, 1]).all()
    assert read.values.keys() == read.points.keys() == values.keys()
    assert read.points["student/lidar"].tolist() == [[7, 0], [7, 7]]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.npz").write_bytes(b"nothing")
    for name in ("metrics.npz", "missing.npz"):
        with pytest.raises(EvaluationError, match=rf"{name} cannot be read .*score again"):
            read_rig_scores(tmp_path / name)
