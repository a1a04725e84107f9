"""What two cameras see of the same world, against a restatement in plain Python and against a world that is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from stages.evaluate.metrics import consistency_metrics
from stages.evaluate.prediction import Prediction, compare
from stages.evaluate.scoring import Scorer
from stages.evaluate.truth import dense_truth
from tests.wall_world import (
    CAMERAS,
    DATASET,
    FOCAL_PX,
    PAIRS,
    POSES,
    PROTOCOL,
    H,
    W,
    rig,
    truths,
    wall_depth,
)


@pytest.mark.parametrize("name", ["lidar", "dense"])
def test_overlaps_are_those_of_a_plain_restatement(name: str) -> None:
    truth = truths(rig())[name]
    ((there, back),) = truth.overlaps
    assert (there.first, there.second, back.first, back.second) == (0, 1, 1, 0)
    for overlap in (there, back):
        inside = []
        points = truth.views[overlap.first]
        for index, ((x, y), z) in enumerate(zip(points.xy_px.tolist(), points.depth_m.tolist(), strict=True)):
            camera = np.array([(x - W / 2) / FOCAL_PX * z, (y - H / 2) / FOCAL_PX * z, z, 1.0])
            seen = np.linalg.inv(POSES[overlap.second]) @ POSES[overlap.first] @ camera
            if seen[2] > 0:
                u, v = FOCAL_PX * seen[0] / seen[2] + W / 2, FOCAL_PX * seen[1] / seen[2] + H / 2
                if 0 <= u < W and 0 <= v < H:
                    inside.append(index)
        assert overlap.inside.tolist() == inside
        assert overlap.common.tolist() == inside, "nothing stands before the wall"
        assert 0 < len(inside) < len(points.depth_m) / 2


@pytest.mark.parametrize("name", ["lidar", "dense"])
def test_true_depth_is_consistent_and_exact_in_the_overlap(name: str) -> None:
    scores = cross_view(wall_depth(), name)
    assert scores.consistency_mean.metrics["rel"] == pytest.approx(0, abs=2e-3), "but for bilinear interpolation"
    assert scores.consistency_mean.metrics["rmse"] == pytest.approx(0, abs=0.05)
    assert scores.overlap_mean.metrics["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert scores.overlap["REAR"].images == 0
    assert list(scores.consistency) == ["LEFT-FRONT"]


def test_cameras_that_disagree_are_apart_by_as_much() -> None:
    depth = wall_depth()
    depth[1] *= 1.2
    scores = cross_view(depth, "dense")
    # Depth from the camera and distance from the rig's origin are nearly proportional 12 m away.
    assert scores.consistency_mean.metrics["rel"] == pytest.approx(2 * 0.2 / 2.2, rel=0.05)
    assert scores.overlap["FRONT"].metrics["abs_rel"] == pytest.approx(0.2, rel=1e-5)
    assert scores.overlap["LEFT"].metrics["abs_rel"] == pytest.approx(0, abs=1e-6)


def bilinear(depth: np.ndarray, x: float, y: float) -> float:
    """The value at a point of an image whose first pixel's centre is (½, ½), borders replicated."""
    column, row = min(max(x - 0.5, 0), W - 1), min(max(y - 0.5, 0), H - 1)
    left, top = min(int(column), W - 2), min(int(row), H - 2)
    a, b = column - left, row - top
    upper = (1 - a) * depth[top, left] + a * depth[top, left + 1]
    return float((1 - b) * upper + b * ((1 - a) * depth[top + 1, left] + a * depth[top + 1, left + 1]))


@pytest.mark.parametrize("name", ["lidar", "dense"])
def test_ten_percent_in_one_camera_change_it_as_computed(name: str) -> None:
    """Point by point: where the wall is seen from LEFT and FRONT, how far each says it is from the rig's origin."""
    depth, origin = wall_depth(), rig().world_from_rig[:3, 3]
    depth[1] *= 1.1
    apart, off = [], []
    for first, second in ((0, 1), (1, 0)):
        points = truths(rig())[name].views[first]
        for (x, y), z in zip(points.xy_px.tolist(), points.depth_m.tolist(), strict=True):
            ray = np.array([(x - W / 2) / FOCAL_PX, (y - H / 2) / FOCAL_PX, 1.0])
            world = POSES[first][:3, :3] @ ray * z + POSES[first][:3, 3]
            seen = POSES[second][:3, :3].T @ (world - POSES[second][:3, 3])
            u, v = FOCAL_PX * seen[:2] / seen[2] + (W / 2, H / 2) if seen[2] > 0 else (-1, -1)
            if not (0 <= u < W and 0 <= v < H):
                continue
            other_ray = np.array([(u - W / 2) / FOCAL_PX, (v - H / 2) / FOCAL_PX, 1.0])
            said = []
            for view, r, predicted in (
                (first, ray, depth[first][int(y), int(x)]),
                (second, other_ray, bilinear(depth[second], u, v)),
            ):
                said.append(math.dist(POSES[view][:3, :3] @ r * predicted + POSES[view][:3, 3], origin))
            apart.append(2 * abs(said[0] - said[1]) / sum(said))
            off.append(said[0] - said[1])
    found = cross_view(depth, name).consistency_mean.metrics
    assert found["rel"] == pytest.approx(np.mean(apart), rel=1e-6)
    assert found["rmse"] == pytest.approx(math.sqrt(np.mean(np.square(off))), rel=1e-6)
    assert found["rel"] == pytest.approx(2 * 0.1 / 2.1, rel=0.05), "nearly, for the rig's origin is near the cameras"


def test_both_wrong_alike_is_consistent_but_not_accurate() -> None:
    scores = cross_view(1.5 * wall_depth(), "dense")
    assert scores.consistency_mean.metrics["rel"] is not None
    assert scores.consistency_mean.metrics["rel"] < 0.03
    assert scores.overlap_mean.metrics["abs_rel"] == pytest.approx(0.5, rel=1e-5)


def test_the_distance_is_that_from_the_rigs_origin() -> None:
    truth = truths(rig())["dense"]
    ((there, _),) = truth.overlaps
    points = truth.views[0]
    index = there.common[0]
    x, y = points.xy_px[index]
    z = float(points.depth_m[index])
    world = POSES[0] @ np.array([(x - W / 2) / FOCAL_PX * z, (y - H / 2) / FOCAL_PX * z, z, 1.0])
    expected = math.dist(world[:3], (0.1, -0.3, 0.0))
    assert there.first_rays.distance_m(points.depth_m[there.common])[0] == pytest.approx(expected, rel=1e-6)


def test_what_is_hidden_from_the_neighbour_is_not_common_where_depth_is_dense() -> None:
    dense = wall_depth()
    dense[1, :, : W // 2] = 3.0  # a pillar before FRONT alone
    truth = dense_truth(dense, rig(), PROTOCOL, DATASET)
    ((there, _),) = truth.overlaps
    assert len(there.common) < len(there.inside)
    assert (there.common_xy_px[:, 0] >= W // 2).all()


def test_the_own_car_is_not_common() -> None:
    mask = np.ones((3, H, W), bool)
    mask[1, H // 2 :] = False
    for truth in truths(dataclasses.replace(rig(), ego_mask=mask)).values():
        there, back = truth.overlaps[0]
        assert (there.common_xy_px[:, 1] < H // 2).all()
        assert (truth.views[1].xy_px[back.common, 1] < H // 2).all()


def test_a_view_that_is_not_known_is_counted_as_such() -> None:
    truth = truths(rig())["lidar"]
    scorer = Scorer("teacher", "disparity_least_squares", CAMERAS, PROTOCOL, pairs=PAIRS)
    prediction = Prediction(np.ones((3, H, W)), (H, W), 200.0, fits=((1.0, 0.0), None, (1.0, 0.0)))
    scorer.add(compare(prediction, truth), truth)
    scores = scorer.cross_view_scores()[0]
    assert scores.consistency_mean.metrics == {"rel": None, "rmse": None}
    assert scores.consistency_mean.images_without_points == 1
    assert scores.overlap["LEFT"].images == 1


def test_the_formulas_by_hand() -> None:
    found = consistency_metrics(np.array([10.0, 20.0]), np.array([10.0, 30.0]))
    assert found == pytest.approx({"rel": 0.5 * (2 * 10 / 50), "rmse": math.sqrt(50)})


def cross_view(depth_m: np.ndarray, name: str):  # type: ignore[no-untyped-def]
    truth = truths(rig())[name]
    scorer = Scorer("student", "metric", CAMERAS, PROTOCOL, truth=truth.name, pairs=PAIRS)
    scorer.add(compare(Prediction(depth_m, (H, W), 200.0), truth), truth)
    return scorer.cross_view_scores()[0]
