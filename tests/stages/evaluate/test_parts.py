"""Scores of parts of what is scored are those of a scorer that saw the part alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cache_schema import CachedRig
from stages.evaluate.metrics import METRICS
from stages.evaluate.parts import WORST, intervals, part_scores, worst_rigs
from stages.evaluate.prediction import Prediction, ViewPair, compare
from stages.evaluate.regions import regions_of
from stages.evaluate.result import PartScores
from stages.evaluate.rig_scores import RigScores
from stages.evaluate.scoring import Scorer
from stages.evaluate.truth import lidar_truth
from tests.stages.evaluate.test_scoring import CAMERAS, DATASET, DDAD, NATIVE, NUSCENES, count, depth, rig

SCENES = ("a", "a", "b", "c")
BY_SCENE = {"a": ("day", "dry"), "b": ("night", "dry"), "c": ("night", "rain")}


def scored(rigs: list[tuple[CachedRig, np.ndarray]], scenes: tuple[str, ...] = SCENES) -> RigScores:
    """Scores of predictions (V, H, W) of rigs."""
    scorer = Scorer("student", "metric", CAMERAS, DDAD)
    for each, predicted_m in rigs:
        truth = lidar_truth(each, DDAD, DATASET)
        scorer.add(compare(Prediction(predicted_m, NATIVE, 200.0), truth), truth)
    samples = tuple(map(str, range(len(rigs))))
    return RigScores(scenes, samples, CAMERAS, (), scorer.rig_scores(), scorer.rig_points())


def four_rigs() -> list[tuple[CachedRig, np.ndarray]]:
    found = []
    for seed in range(4):
        truth = np.stack([depth(2 * seed), depth(2 * seed + 1)])
        found.append((rig(list(truth)), truth * np.random.default_rng(seed).uniform(0.6, 1.5, truth.shape)))
    return found


def of(parts: tuple[PartScores, ...], name: str) -> PartScores:
    return next(part for part in parts if part.part == name)


def test_a_depth_range_is_scored_as_if_there_were_nothing_else() -> None:
    rigs = four_rigs()
    parts = part_scores(scored(rigs), DDAD, {})
    for low, high in DDAD.depth_ranges_m:
        scorer = Scorer("student", "metric", CAMERAS, DDAD)
        for each, predicted_m in rigs:
            pairs = []
            for view, points in enumerate(each.lidar):
                inside = (points.depth_m > low) & (points.depth_m <= high) & (points.depth_m > DDAD.range_m[0])
                pairs.append(ViewPair(points.depth_m[inside], predicted_m[view].ravel()[inside]))
            count(scorer, *pairs)
        expected, found = scorer.scores()[0].mean, of(parts, f"{low:g}-{high:g}m")
        assert (found.kind, found.points, found.metrics) == ("depth", expected.points, pytest.approx(expected.metrics))


def test_border_and_centre_are_the_whole() -> None:
    whole = scored([(rig([depth(), depth()]), np.stack([depth(1), depth(1)]))], ("a",))
    parts = part_scores(whole, DDAD, {})
    # 8 × 12 pixels: their centres lie within a tenth of the border in the first and last row and column.
    assert (of(parts, "border").points, of(parts, "centre").points) == (2 * 36, 2 * 60)


def test_each_point_is_in_one_range_of_depth_and_ranges_follow_the_dataset() -> None:
    parts = part_scores(scored(four_rigs()), DDAD, {})
    in_ranges = sum(part.points for part in parts if part.kind == "depth")
    assert in_ranges == of(parts, "border").points + of(parts, "centre").points == 4 * 2 * NATIVE[0] * NATIVE[1]
    nuscenes = DDAD.model_copy(update={"range_m": (0.1, NUSCENES.far_m)})
    assert [name for name, kind in regions_of(nuscenes).items() if kind == "depth"][-1] == "60-100m"


def test_each_condition_and_scene_is_the_mean_over_its_rigs_alone() -> None:
    rigs = four_rigs()
    parts = part_scores(scored(rigs), DDAD, BY_SCENE)
    named = [(part.kind, part.part, part.rigs) for part in parts if part.kind in ("condition", "scene")]
    assert named == [
        *(("condition", name, rigs) for name, rigs in (("day", 2), ("dry", 3), ("night", 2), ("rain", 1))),
        *(("scene", name, rigs) for name, rigs in (("a", 2), ("b", 1), ("c", 1))),
    ]
    for name, chosen in (("dry", rigs[:3]), ("night", rigs[2:]), ("a", rigs[:2])):
        alone = of(part_scores(scored(chosen, ("x",) * len(chosen)), DDAD, {}), "x")
        assert of(parts, name).metrics == pytest.approx(alone.metrics)
        assert of(parts, name).points == alone.points


def test_rigs_without_any_point_have_no_mean_and_do_not_count() -> None:
    rigs = four_rigs()
    far = dataclasses.replace(rigs[3][0], lidar=rig([np.full(NATIVE, 500.0)] * 2).lidar)
    rain = of(part_scores(scored([*rigs[:3], (far, rigs[3][1])]), DDAD, BY_SCENE), "rain")
    assert (rain.rigs, rain.points, set(rain.metrics.values())) == (0, 0, {None})


def test_the_worst_rigs_are_those_with_the_greatest_error() -> None:
    truth = np.stack([depth(0), depth(1)])
    errors = (0.3, 0.1, 0.5, 0.2, 0.9, 0.0, 0.7)
    each = rig(list(truth))
    worst = worst_rigs(scored([(each, truth * (1 + error)) for error in errors], tuple("abcdefg")))
    assert [found.scene for found in worst] == list("egcad")
    assert len(worst) == WORST
    assert worst[0].index == 4
    assert worst[-1].abs_rel == pytest.approx(0.2, abs=0.01)


def test_an_interval_holds_the_mean() -> None:
    scores = scored(four_rigs())
    found = intervals(scores, "student/lidar")
    assert set(found) == {*METRICS} - {"delta_3"}, "that is 1 in every draw"
    mean = of(part_scores(scores, DDAD, dict.fromkeys(SCENES, ("all",))), "all").metrics["abs_rel"]
    assert mean is not None
    assert found["abs_rel"][0] < mean < found["abs_rel"][1]
    assert intervals(scored(four_rigs()[:1], ("a",)), "student/lidar") == {}, "one rig has none"
