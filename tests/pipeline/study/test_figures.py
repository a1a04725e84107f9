"""From several runs to a mean, a spread and a change."""

from __future__ import annotations

import math

import pytest

from pipeline.study.figures import HIGHER_IS_BETTER, change, figure, gain, over_seeds
from pipeline.study.table import figure_text, minutes, percent_text
from stages.evaluate.metrics import METRICS


def test_mean_and_spread_over_seeds() -> None:
    found = over_seeds([{"lidar.abs_rel": 0.1}, {"lidar.abs_rel": 0.2}])["lidar.abs_rel"]
    assert found.values == (0.1, 0.2)
    assert found.mean == pytest.approx(0.15)
    assert found.spread == pytest.approx(math.sqrt(0.005))
    assert figure_text(found) == "0.150 ± 0.071"


def test_one_seed_has_no_spread() -> None:
    assert figure([0.1]).spread is None
    assert figure_text(figure([0.1])) == "0.100"


def test_what_is_missing_is_a_dash_and_not_a_zero() -> None:
    assert figure_text(None) == figure_text(figure([None, None])) == "–"
    assert percent_text(change([{}], [{"lidar.abs_rel": 0.1}], "lidar.abs_rel")) == "–"
    assert over_seeds([{"a": 0.5}, {}])["a"].values == (0.5, None)


def test_changes_are_taken_seed_by_seed() -> None:
    runs = [{"lidar.abs_rel": 0.09}, {"lidar.abs_rel": 0.18}]
    baseline = [{"lidar.abs_rel": 0.10}, {"lidar.abs_rel": 0.20}]
    found = change(runs, baseline, "lidar.abs_rel")
    assert found.spread == pytest.approx(0), "both are 10 % better than the baseline with the same seed"
    assert percent_text(found) == "-10.0 ± 0.0 %"


def test_a_gain_is_for_the_better_in_every_metric() -> None:
    baseline = {f"lidar.{metric}": 1.0 for metric in METRICS}
    better = {f"lidar.{metric}": 1.1 if metric in HIGHER_IS_BETTER else 0.9 for metric in METRICS}
    assert gain([better], [baseline], "lidar").mean == pytest.approx(0.1)
    assert gain([better], [baseline], "dense").mean is None


def test_minutes() -> None:
    assert [minutes(seconds) for seconds in (0.4, 61.0, 1500.0)] == ["0:00", "1:01", "25:00"]
