"""The ground as a source of scale: a flat road of known height, seen through the calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cache_schema import LidarView
from stages.train.metric_teacher.ground import fit_ground, ground_height, ground_inverse_depth
from tests.real_data import real_data

NATIVE, GRID = (120, 160), (12, 16)
K = np.array([[[80, 0, 79.5], [0, 80, 59.5], [0, 0, 1]]], np.float32)
GROUND_Z_M = -0.4


def camera(height_m: float = 1.6) -> np.ndarray:
    """One camera that looks along x of the rig, level."""
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[2, 3] = height_m
    return pose[None]


def plane() -> np.ndarray:
    return ground_inverse_depth(K, camera(), GROUND_Z_M, NATIVE, GRID)


def test_the_plane_has_the_depth_that_follows_from_the_camera_s_height() -> None:
    (seen,) = plane()
    row = 9
    below = ((row + 0.5) * 10 - 0.5 - 59.5) / 80  # of the cell's centre, for each metre of depth
    np.testing.assert_allclose(seen[row], below / 2.0, rtol=1e-6)
    np.testing.assert_array_equal(seen[:6], 0)


def test_a_camera_under_the_ground_sees_none() -> None:
    np.testing.assert_array_equal(ground_inverse_depth(K, camera(-1), GROUND_Z_M, NATIVE, GRID), 0)


def test_scale_and_shift_come_back_although_things_stand_on_the_ground() -> None:
    inverse = torch.from_numpy(plane())
    u = (inverse - 0.02) / 0.7
    u[:, :, 3:7] += 0.3  # a car: nearer than the road behind it
    (found,) = fit_ground(u, inverse, torch.ones(1, *GRID, dtype=torch.bool))
    assert found[0].item() == pytest.approx(0.7, rel=0.1)
    assert found[1].item() == pytest.approx(0.02, abs=0.01)
    assert 0.6 < found[2].item() < 0.9


def test_where_no_ground_is_seen_nothing_is_told() -> None:
    own_car = torch.zeros(1, *GRID, dtype=torch.bool)
    np.testing.assert_array_equal(fit_ground(torch.rand(1, *GRID), torch.from_numpy(plane()), own_car), 0)


def points_on_the_ground(count: int, walls: int) -> tuple[LidarView, ...]:
    """Pixels below the horizon with the depth of the ground, and some with that of walls."""
    rng = np.random.default_rng(0)
    uv = np.stack([rng.integers(0, 160, count), rng.integers(75, 120, count)], axis=1)
    depth_m = 2.0 * 80 / (uv[:, 1] - 59.5)
    wall = np.stack([rng.integers(0, 160, walls), rng.integers(30, 75, walls)], axis=1)
    both = np.concatenate([depth_m, rng.uniform(3, 11, walls)]).astype(np.float32)
    return (LidarView(np.concatenate([uv, wall]).astype(np.uint16), both),)


def test_most_points_near_the_car_lie_on_the_ground() -> None:
    height_m = ground_height(points_on_the_ground(800, 800), K, camera())
    assert height_m == pytest.approx(GROUND_Z_M, abs=0.03)


def test_few_points_tell_no_height() -> None:
    assert ground_height(points_on_the_ground(20, 20), K, camera()) is None


def test_the_ground_of_real_cars_is_near_the_origin_of_their_rig() -> None:
    from stages.cache_teacher.datasets.ddad import DdadDataset

    dataset = DdadDataset(real_data("ddad_sample"))
    rig = dataset.load("train", dataset.samples("train")[0])
    height_m = ground_height(rig.lidar, rig.intrinsics_px, rig.rig_from_camera)
    assert height_m == pytest.approx(0.1, abs=0.1)
