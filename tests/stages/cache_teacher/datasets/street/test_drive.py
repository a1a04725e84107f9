"""The world holds together: LiDAR, depth and cameras agree, and the same number gives the same town."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from stages.cache_teacher.datasets.street import (
    CAMERAS,
    DATASET_TOWNS,
    TEACHER_TRAINING_TOWNS,
    TEACHER_VALIDATION_TOWNS,
    StreetConfig,
    StreetRig,
    drive,
)

CONFIG = StreetConfig(height=96, width=160)
TOWNS = (0, 3, 8)


@pytest.fixture(scope="module")
def rigs() -> list[StreetRig]:
    return [rig for town in TOWNS for rig in drive(town, CONFIG, 2)]


def edges(depth: np.ndarray) -> np.ndarray:
    """Where depth jumps by more than 5 % to a neighbour."""
    filled = np.where(np.isfinite(depth), depth, 1e6)
    near = [np.roll(filled, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return np.max(near, axis=0) > 1.05 * np.min(near, axis=0)


def seen_by(rig: StreetRig, view: int, world: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pixels and depths of the world points (N, 3) that a camera has in its picture, and which those are."""
    camera_from_world = np.linalg.inv(rig.world_from_camera[view])
    camera = world @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    pixel = camera @ rig.intrinsics_px[view].T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
    kept = (camera[:, 2] > 0.3) & (u >= 0) & (v >= 0) & (u < CONFIG.width) & (v < CONFIG.height)
    return u[kept].astype(int), v[kept].astype(int), camera[kept, 2], np.nonzero(kept)[0]


def test_lidar_agrees_with_the_depth_of_the_pictures(rigs: list[StreetRig]) -> None:
    for rig in rigs:
        world = rig.points[:, :3].astype(np.float64) @ rig.world_from_lidar[:3, :3].T + rig.world_from_lidar[:3, 3]
        differences = []
        for view, depth in enumerate(rig.depth_m):
            u, v, z, _ = seen_by(rig, view, world)
            smooth = np.isfinite(depth[v, u]) & ~edges(depth)[v, u]
            differences.append(np.abs(z - depth[v, u])[smooth] / depth[v, u][smooth])
        joined = np.concatenate(differences)
        assert len(joined) > 3000
        assert np.median(joined) < 0.005


def test_cameras_agree_where_they_overlap(rigs: list[StreetRig]) -> None:
    """A point of one camera lies, in its neighbour's picture, at the depth the neighbour has there."""
    for rig in rigs:
        differences = []
        for view in range(6):
            v, u = np.nonzero(np.isfinite(rig.depth_m[view]) & ~edges(rig.depth_m[view]))
            pixels = np.stack([u + 0.5, v + 0.5, np.ones(len(u))], axis=1)
            camera = pixels @ np.linalg.inv(rig.intrinsics_px[view]).T * rig.depth_m[view][v, u][:, None]
            world = camera @ rig.world_from_camera[view][:3, :3].T + rig.world_from_camera[view][:3, 3]
            for neighbour in ((view + 1) % 6, (view - 1) % 6):
                u2, v2, z2, _ = seen_by(rig, neighbour, world)
                depth = rig.depth_m[neighbour]
                smooth = np.isfinite(depth[v2, u2]) & ~edges(depth)[v2, u2]
                differences.append(np.abs(z2 - depth[v2, u2])[smooth] / depth[v2, u2][smooth])
        joined = np.concatenate(differences)
        assert len(joined) > 500
        assert np.median(joined) < 0.005


def test_the_ring_is_ddads_and_neighbours_overlap_a_little(rigs: list[StreetRig]) -> None:
    assert CAMERAS == ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
    for rig in rigs:
        ahead = rig.rig_from_camera[:, :3, 2]
        yaw = np.rad2deg(np.unwrap(np.arctan2(ahead[:, 1], ahead[:, 0])))
        fov = np.rad2deg(2 * np.arctan(CONFIG.width / 2 / rig.intrinsics_px[:, 0, 0]))
        assert np.abs(np.diff(yaw) - 60).max() < 6
        assert ((fov > 69) & (fov < 75)).all()


def test_the_scene_is_a_street(rigs: list[StreetRig]) -> None:
    for rig in rigs:
        assert rig.images.dtype == np.uint8
        assert rig.images.std() > 15
        finite = np.isfinite(rig.depth_m)
        assert 0.5 < finite.mean() < 0.97
        assert 3 < np.median(rig.depth_m[finite]) < 30
        assert 0.01 < rig.own_car.mean() < 0.2, "part of the own car is in view"
        assert np.isnan(rig.depth_m[rig.own_car]).all()
        assert len(rig.points) > 0.4 * CONFIG.lidar_beams * CONFIG.lidar_columns


def test_a_lidar_of_few_beams_sees_the_same_street(rigs: list[StreetRig]) -> None:
    [few] = drive(TOWNS[0], StreetConfig(height=96, width=160, lidar_beams=8), 1)
    assert (few.images == rigs[0].images).all()
    assert 0.2 < len(few.points) / len(rigs[0].points) < 0.3, "8 beams of 32"


def test_the_car_drives_and_cameras_fire_at_their_own_times(rigs: list[StreetRig]) -> None:
    first, second = rigs[:2]
    moved = np.linalg.norm(second.world_from_lidar[:3, 3] - first.world_from_lidar[:3, 3])
    assert 2 < moved < 13
    offsets = first.camera_time_us - first.lidar_time_us
    assert len(set(offsets.tolist())) == 6
    assert np.abs(offsets).max() <= 50_000
    assert (second.own_car == first.own_car).mean() > 0.999


def digest(rig: StreetRig) -> str:
    parts = (rig.images, rig.depth_m, rig.points, rig.world_from_camera, rig.intrinsics_px)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_another_process_makes_the_same_rig(rigs: list[StreetRig]) -> None:
    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from stages.cache_teacher.datasets.street import StreetConfig, drive\n"
        "from tests.stages.cache_teacher.datasets.street.test_drive import digest\n"
        f"print(digest(next(drive({TOWNS[0]}, StreetConfig(height=96, width=160), 1))))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == digest(rigs[0])


def test_a_drive_that_leaves_the_town_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer rigs"):
        next(drive(0, CONFIG, 100))


def test_no_dataset_holds_a_town_that_the_teacher_has_seen() -> None:
    ranges = [DATASET_TOWNS, TEACHER_VALIDATION_TOWNS, TEACHER_TRAINING_TOWNS]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert max(ranges[one].start, ranges[other].start) >= min(ranges[one].stop, ranges[other].stop)
