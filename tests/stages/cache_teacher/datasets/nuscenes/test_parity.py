"""The reader against what nuscenes-devkit made of one real keyframe."""

import json
from typing import Any

import numpy as np
import pytest

from cache_schema import RigFrames
from stages.cache_teacher.config import NuscenesSettings
from tests.real_data import real_data

RING = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT", "CAM_FRONT_RIGHT")

pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")


@pytest.fixture(scope="module")
def rig() -> RigFrames:
    from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset

    dataset = NuscenesDataset(real_data("nuscenes_sample"), NuscenesSettings(), "fail")
    assert dataset.cameras == RING
    (sample,) = dataset.samples("train")
    return dataset.load("train", sample)


def recorded(camera: str) -> dict[str, Any]:
    records = json.loads(real_data("reference", "nuscenes_scene_0061.json").read_text())["records"]
    return next(record for record in records if record["camera"] == camera)


@pytest.mark.real_data
@pytest.mark.parametrize("camera", ["CAM_FRONT", "CAM_FRONT_LEFT"])
def test_points_are_the_devkits(rig: RigFrames, camera: str):
    points = rig.lidar[RING.index(camera)]
    with np.load(real_data("reference", f"nuscenes_{camera}.npz")) as expected:
        pixel = np.rint(np.stack([expected["u"], expected["v"]], axis=1)).astype(int)
        last = {(u, v): depth_m for (u, v), depth_m in zip(pixel.tolist(), expected["depth"], strict=True)}
    found = {(int(u), int(v)): depth_m for (u, v), depth_m in zip(points.uv_px, points.depth_m, strict=True)}
    assert found == last
