"""Differences on the same rigs: their values, and intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.study.paired import AVERAGED, differences, drawn_figures, improvements
from stages.evaluate.metrics import METRICS
from stages.evaluate.rig_scores import RigScores, protocol_mean

CAMERAS = ("A", "B")


def scores(values: np.ndarray, scenes: tuple[str, ...], truth: str = "lidar") -> RigScores:
    samples = tuple(str(number) for number in range(len(scenes)))
    return RigScores(scenes, samples, CAMERAS, (), {f"student/{truth}": values}, {})


def errors(rigs: int, seed: int = 0) -> np.ndarray:
    """Metrics (rig, camera, metric) between 0.1 and 0.9."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, (rigs, len(CAMERAS), len(METRICS)))


def test_the_value_is_that_of_the_figures_seed_by_seed() -> None:
    scenes = ("a", "a", "b", "c")
    ours, theirs = [errors(4, seed) for seed in (1, 2)], [errors(4, seed) for seed in (3, 4)]
    runs = drawn_figures([scores(each, scenes) for each in ours])
    base = drawn_figures([scores(each, scenes) for each in theirs])
    at = METRICS.index("abs_rel")
    expected = [protocol_mean(a)[at] - protocol_mean(b)[at] for a, b in zip(ours, theirs, strict=True)]
    found = differences(runs, base)["lidar.abs_rel"]
    assert found.values == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(expected))
    better = [-difference / protocol_mean(b)[at] for difference, b in zip(expected, theirs, strict=True)]
    assert improvements(runs, base)["lidar.abs_rel"].mean == pytest.approx(np.mean(better))


def test_the_mean_improvement_is_over_five_metrics_and_counts_misses_of_delta_1() -> None:
    scenes = ("a", "b")
    base = np.full((2, 2, len(METRICS)), 0.5)
    ours = base * 0.9
    ours[..., METRICS.index("delta_1")] = 1 - 0.5 * 0.8
    found = improvements(drawn_figures([scores(ours, scenes)]), drawn_figures([scores(base, scenes)]))
    assert found["lidar.delta_1"].mean == pytest.approx(0.2)
    assert found["lidar.mean"].mean == pytest.approx((4 * 0.1 + 0.2) / len(AVERAGED))
    assert found["lidar.delta_2"].mean == pytest.approx(-0.1), "less of what should be more is no improvement"
    assert "dense.mean" not in found


def test_what_is_hard_for_both_falls_out_of_the_difference() -> None:
    scenes = tuple("abcdefgh")
    hard = np.linspace(0, 5, 8)[:, None, None] + errors(8)
    found = differences(*(drawn_figures([scores(each, scenes)]) for each in (hard - 0.1, hard)))["lidar.abs_rel"]
    assert found.mean == pytest.approx(-0.1)
    assert (found.low, found.high) == pytest.approx((-0.1, -0.1)), "though each alone varies much from rig to rig"


def test_rigs_of_a_scene_count_as_alike() -> None:
    """Twenty rigs of four scenes that differ as wholes say less than twenty rigs of twenty scenes."""
    shift = np.repeat([0.0, 0.1, 0.2, 0.3], 5)[:, None, None]
    ours, base = errors(20) * 0.001 + shift, errors(20, 1) * 0.001
    widths = []
    for scenes in (tuple("aaaaabbbbbcccccddddd"), tuple("abcdefghijklmnopqrst")):
        found = differences(*(drawn_figures([scores(each, scenes)]) for each in (ours, base)))["lidar.abs_rel"]
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[0] > 1.5 * widths[1]


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of 60 test sets of 40 towns with two rigs each, most intervals hold the mean of the world they come from."""
    scenes, held = tuple(f"{town:02d}" for town in range(40) for _ in range(2)), 0
    for trial in range(60):
        random = np.random.default_rng(trial)
        town = np.repeat(random.normal(0.05, 0.1, 40), 2)[:, None, None]
        ours = 1 + town + random.normal(0, 0.05, (80, 2, len(METRICS)))
        base = np.ones((80, 2, len(METRICS)))
        found = differences(*(drawn_figures([scores(each, scenes)]) for each in (ours, base)))["lidar.abs_rel"]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.05 <= found.high
    assert 52 <= held <= 60


def test_one_rig_has_no_interval_and_what_nobody_saw_no_value() -> None:
    runs = drawn_figures([scores(errors(1), ("a",))])
    assert differences(runs, runs)["lidar.abs_rel"].low is None
    unseen = errors(2)
    unseen[:] = np.nan
    runs = drawn_figures([scores(unseen, ("a", "b"))])
    found = improvements(runs, runs)["lidar.abs_rel"]
    assert (found.mean, found.low, found.values) == (None, None, (None,))
