"""The reader against what nuscenes-devkit made of one real keyframe."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from cache_schema import LidarView, RigFrames
from stages.cache_teacher.config import NuscenesSettings
from tests.real_data import real_data

pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")

from nuscenes.nuscenes import NuScenes

from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset

RECORDED = ("CAM_FRONT", "CAM_FRONT_LEFT")
RING = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT", "CAM_FRONT_RIGHT")


@pytest.fixture(scope="module")
def rig() -> RigFrames:
    dataset = NuscenesDataset(real_data("nuscenes_sample"), NuscenesSettings())
    assert dataset.cameras == RING
    (sample,) = dataset.samples("train")
    return dataset.load("train", sample)


def recorded(camera: str) -> dict[str, Any]:
    records = json.loads(real_data("reference", "nuscenes_scene_0061.json").read_text())["records"]
    return next(record for record in records if record["camera"] == camera)


@pytest.mark.real_data
@pytest.mark.parametrize("camera", RECORDED)
def test_points_are_those_recorded(rig: RigFrames, camera: str):
    points = rig.lidar[RING.index(camera)]
    with np.load(real_data("reference", f"nuscenes_{camera}.npz")) as expected:
        last = last_by_pixel(expected["u"], expected["v"], expected["depth"])
    assert by_pixel(points) == last
    assert len(last) == recorded(camera)["projected"]["distinct_pixels_round"]


@pytest.mark.real_data
@pytest.mark.parametrize("camera", RING)
def test_points_are_those_of_the_devkit_that_is_installed(rig: RigFrames, camera: str):
    nusc = NuScenes("v1.0-mini", str(real_data("nuscenes_sample")), verbose=False)
    data = nusc.sample[0]["data"]
    uv, depth_m, image = nusc.explorer.map_pointcloud_to_image(data["LIDAR_TOP"], data[camera])
    image.close()
    assert by_pixel(rig.lidar[RING.index(camera)]) == last_by_pixel(uv[0], uv[1], depth_m)


@pytest.mark.real_data
@pytest.mark.parametrize("camera", RECORDED)
def test_images_and_geometry_are_those_recorded(rig: RigFrames, camera: str):
    view, expected = RING.index(camera), recorded(camera)
    assert hashlib.sha256(rig.images[view].tobytes()).hexdigest() == expected["rgb_sha256"]
    np.testing.assert_array_equal(rig.intrinsics_px[view], np.float32(expected["intrinsics"]))
    np.testing.assert_allclose(rig.rig_from_camera[view], expected["sensor2ego"], atol=1e-12)
    world_from_camera = np.array(expected["ego_pose_world_from_ego_at_camera_time"]) @ expected["sensor2ego"]
    np.testing.assert_allclose(rig.world_from_camera[view], world_from_camera, atol=1e-9)


def last_by_pixel(u: np.ndarray, v: np.ndarray, depth_m: np.ndarray) -> dict[tuple[int, int], float]:
    pixels = np.rint(np.stack([u, v], axis=1)).astype(int)
    return {(x, y): float(depth) for (x, y), depth in zip(pixels.tolist(), depth_m, strict=True)}


def by_pixel(points: LidarView) -> dict[tuple[int, int], float]:
    return {(x, y): float(depth) for (x, y), depth in zip(points.uv_px.tolist(), points.depth_m, strict=True)}
