"""Pictures say what the referee says, before a wall where all is known."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from pipeline.painting import dots, error_colours, in_a_row
from pipeline.report.run.cloud import cloud
from pipeline.report.seen import Seen
from stages.evaluate.prediction import Prediction
from tests.wall_world import CAMERAS, DATASET, PROTOCOL, WALL_M, H, W, rig, truths, wall_depth

LEFT, FRONT, REAR = range(len(CAMERAS))


def seen(depth_m: np.ndarray) -> Seen:
    """A student that predicts these depths, and a teacher that knows the truth but nothing of the last camera."""
    found, content = truths(rig()), rig()
    student = Prediction(depth_m, (H, W), PROTOCOL.clamp_m[1])
    teacher = Prediction(
        1 / np.maximum(wall_depth(), 1), (H, W), PROTOCOL.clamp_m[1], fits=((1.0, 0.0), (1.0, 0.0), None)
    )
    return Seen(
        index=0,
        rig=content,
        dataset=DATASET,
        protocol=PROTOCOL,
        truths=(found["lidar"], found["dense"]),
        dense_m=wall_depth(),
        predictions={"student": student, "teacher": teacher},
    )


def test_a_perfect_prediction_has_no_error_and_agrees_with_itself() -> None:
    picture = seen(np.maximum(wall_depth(), 0.1))
    for truth in ("lidar", "dense"):
        assert picture.abs_rel("student", truth) == pytest.approx(0, abs=1e-6)
        error = picture.error("student", truth)
        assert np.isfinite(error[LEFT]).any()
        assert np.nanmax(error[:2]) < 2e-2, "but for pixels between points"
        assert np.isnan(error[REAR]).all(), "it looks away from the wall"
    assert np.nanmax(picture.apart("student")) < 2e-2


def test_one_camera_a_tenth_too_far_is_seen_as_such() -> None:
    depth_m = np.maximum(wall_depth(), 0.1)
    depth_m[FRONT] *= 1.1
    picture = seen(depth_m)
    assert picture.abs_rel("student", "dense") == pytest.approx(0.05, abs=1e-4), "mean of two cameras"
    for truth in ("lidar", "dense"):
        error = picture.error("student", truth)
        assert np.nanmedian(error[FRONT]) == pytest.approx(0.1, abs=1e-3)
        assert np.nanmedian(error[LEFT]) < 1e-2, "it is shown larger than it is: pixels lie between points"
    apart = picture.apart("student")
    for view in (LEFT, FRONT):
        assert np.nanmedian(apart[view]) == pytest.approx(2 * 0.1 / 2.1, rel=0.05)
    assert np.isnan(apart[REAR]).all()


def test_where_a_subject_knows_nothing_nothing_is_drawn() -> None:
    picture = seen(np.full((3, H, W), 5.0))
    assert np.isnan(picture.depth("teacher")[REAR]).all()
    assert np.isfinite(picture.depth("teacher")[LEFT]).all()
    assert error_colours(picture.error("teacher", "lidar"))[REAR].max() == 0


def test_points_in_space_lie_on_the_wall() -> None:
    found = cloud(seen(np.maximum(wall_depth(), 0.1)))
    assert list(found["clouds"]) == ["student", "teacher", "LiDAR"]
    for name in ("teacher", "LiDAR"):
        xyz_m = np.frombuffer(base64.b64decode(found["clouds"][name]["xyz"]), "<i2").reshape(-1, 3) / 100
        rgb = base64.b64decode(found["clouds"][name]["rgb"])
        assert len(rgb) == xyz_m.size > 300
        in_world = xyz_m + rig().world_from_rig[:3, 3]
        assert np.median(np.abs(in_world[:, 1] - WALL_M)) < 0.02, name


def test_a_near_point_is_drawn_over_a_far_one() -> None:
    xy, depth_m = [np.array([[3.0, 2.0], [3.0, 2.0]])], [np.array([5.0, 50.0])]
    drawn = dots(xy, [np.array([0.1, 0.9])], depth_m, (6, 8))[0]
    assert drawn[2:4, 3:5].tolist() == [[pytest.approx(0.1)] * 2] * 2
    assert np.isnan(drawn).sum() == 6 * 8 - 4


def test_views_stand_side_by_side_with_the_first_in_the_middle() -> None:
    views = np.stack([np.full((2, 3, 4), view, np.uint8) for view in range(3)])
    row = in_a_row(views)
    assert [row[0, place, 0] for place in (0, 7, 14)] == [1, 0, 2]
