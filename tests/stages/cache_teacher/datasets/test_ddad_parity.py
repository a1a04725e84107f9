"""The reader against TRI's toolkit: its recorded values, and the toolkit itself where it is installed."""

import hashlib
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema import LidarView, RigFrames
from stages.cache_teacher.datasets.ddad import DdadDataset
from tests.dgp_world import RING, write_dgp_world
from tests.real_data import real_data


@pytest.fixture(scope="module")
def rig() -> RigFrames:
    dataset = DdadDataset(real_data("ddad_sample"))
    return dataset.load("train", next(ref for ref in dataset.samples("train") if ref.scene == "scene_02"))


def recorded(camera: str) -> dict[str, Any]:
    records = json.loads(real_data("reference", "ddad_scene_02_sample_0.json").read_text())["records"]
    return next(record for record in records if record["camera"] == camera)


def dense(points: LidarView, shape: tuple[int, int]) -> np.ndarray:
    depth = np.zeros(shape, dtype=np.float32)
    depth[points.uv_px[:, 1], points.uv_px[:, 0]] = points.depth_m
    return depth


@pytest.mark.real_data
@pytest.mark.parametrize("camera", RING)
def test_depth_is_the_toolkits_to_the_last_bit(rig: RigFrames, camera: str):
    points, expected = rig.lidar[RING.index(camera)], recorded(camera)["depth"]
    depth = dense(points, tuple(expected["shape_hw"]))
    assert hashlib.sha256(depth.tobytes()).hexdigest() == expected["sha256"]
    assert len(points.depth_m) == expected["valid"]
    for v, u, depth_m in expected["samples_v_u_depth"]:
        assert depth[v, u] == np.float32(depth_m)


@pytest.mark.real_data
@pytest.mark.parametrize("camera", ["CAMERA_01", "CAMERA_08"])
def test_points_are_the_toolkits_pixel_by_pixel(rig: RigFrames, camera: str):
    points = rig.lidar[RING.index(camera)]
    with np.load(real_data("reference", f"scene_02_0_{camera}.npz")) as expected:
        width = int(expected["shape"][1])
        u, v = points.uv_px.T.astype(np.int64)
        np.testing.assert_array_equal(v * width + u, expected["index"])
        np.testing.assert_array_equal(points.depth_m, expected["depth"])


@pytest.mark.real_data
@pytest.mark.parametrize("camera", RING)
def test_images_and_geometry_are_the_toolkits(rig: RigFrames, camera: str):
    view, expected = RING.index(camera), recorded(camera)
    assert hashlib.sha256(rig.images[view].tobytes()).hexdigest() == expected["rgb_sha256"]
    assert rig.timestamp == expected["lidar_timestamp_us"]
    np.testing.assert_array_equal(rig.intrinsics_px[view], np.float32(expected["intrinsics_json_float64"]))
    np.testing.assert_allclose(rig.rig_from_camera[view], expected["extrinsics_json_float64"], atol=1e-6)
    # float32 resolves 1.2e-4 m at the 2263 m that this scene is from the origin of its world.
    np.testing.assert_allclose(
        rig.world_from_camera[view], expected["pose_world_from_camera_json_float64"], atol=1.3e-4
    )
    # The LiDAR's frame is the rig frame in this scene.
    camera_from_lidar = np.linalg.inv(rig.world_from_camera[view]) @ rig.world_from_rig
    np.testing.assert_allclose(camera_from_lidar, expected["camera_from_lidar"], atol=1e-9)


@pytest.mark.real_data
def test_the_parked_car_with_three_cameras_is_incomplete():
    dataset = DdadDataset(real_data("ddad_sample"))
    assert dataset.cameras == RING
    assert [str(sample) for sample in dataset.incomplete("val")] == [
        f"scene_01 sample 00000{index} lacks CAMERA_07, CAMERA_09, CAMERA_08" for index in range(3)
    ]
    assert [ref.scene for ref in dataset.samples("val")] == ["scene_02"] * 3


@pytest.mark.real_data
def test_capacity_holds_the_largest_sweep():
    dataset = DdadDataset(real_data("ddad_sample"))
    sweeps = real_data("ddad_sample", "scene_02", "point_cloud", "LIDAR").glob("*.npz")
    largest = max(len(np.load(path)["data"]) for path in sweeps)
    assert largest <= dataset.lidar_capacity("train") < largest + 4096


@pytest.mark.filterwarnings("ignore")  # the toolkit is older than what it imports
def test_depth_maps_equal_those_of_the_installed_toolkit(tmp_path: Path):
    toolkit = installed_toolkit()
    root = write_dgp_world(tmp_path / "world")
    ours = DdadDataset(root)
    theirs = toolkit.SynchronizedSceneDataset(
        str(root / "ddad.json"), split="train", datum_names=[*RING, "LIDAR"], generate_depth_from_datum="LIDAR"
    )
    for index, ref in enumerate(ours.samples("train")):
        rig = ours.load("train", ref)
        datums = {datum["datum_name"]: datum for datum in theirs[index][0]}
        for camera, points in zip(RING, rig.lidar, strict=True):
            expected = datums[camera]["depth"]
            np.testing.assert_array_equal(dense(points, expected.shape), expected)


def installed_toolkit() -> Any:
    spec = importlib.util.find_spec("dgp")
    if spec is None:
        pytest.skip("TRI's toolkit (github.com/TRI-ML/dgp) is not installed")
    if not any(Path(folder, "datasets").is_dir() for folder in spec.submodule_search_locations or ()):
        pytest.skip("the installed `dgp` is an unrelated project, not TRI's toolkit (github.com/TRI-ML/dgp)")
    return importlib.import_module("dgp.datasets")
