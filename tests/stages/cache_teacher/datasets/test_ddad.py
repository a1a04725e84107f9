import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import SampleRef
from stages.cache_teacher.datasets.ddad import DdadDataset
from tests.dgp_world import FRONT_CAMERAS, RING, build_town, render, write_dgp_world


def test_a_dataset_tells_its_ring_and_its_samples(world: Path):
    dataset = DdadDataset(world)
    assert (dataset.name, dataset.version, dataset.splits) == ("ddad", "1", ("train", "val"))
    assert dataset.cameras == RING
    assert dataset.adjacent_pairs == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0))
    assert [(ref.scene, ref.sample) for ref in dataset.samples("train")] == [("000000", "000000"), ("000000", "000001")]
    assert [(ref.scene, ref.sample) for ref in dataset.samples("val")] == [("000001", "000000"), ("000001", "000001")]


def test_images_points_and_poses_agree_with_the_world(world: Path):
    dataset, town = DdadDataset(world), build_town(seed=0, scene=0)
    rig = dataset.load("train", dataset.samples("train")[1])
    for view in range(len(RING)):
        image, depth = render(town, rig.world_from_camera[view], rig.intrinsics_px[view], rig.images[view].shape[:2])
        u, v = rig.lidar[view].uv_px.T
        off = np.abs(depth[v, u] - rig.lidar[view].depth_m) / rig.lidar[view].depth_m
        assert len(off) > 400
        assert np.median(off) < 0.01
        assert (off < 0.05).mean() > 0.9, "all but the points at edges, which only one of the two sensors sees"
        assert np.abs(image.astype(float) - rig.images[view]).mean() < 4, "what JPEG costs at 96×160"


def test_the_rig_frame_is_the_car_at_the_time_of_the_sweep(world: Path):
    dataset = DdadDataset(world)
    rig = dataset.load("train", dataset.samples("train")[0])
    moved = np.linalg.inv(rig.world_from_rig) @ rig.world_from_camera @ np.linalg.inv(rig.rig_from_camera)
    travelled_m = np.linalg.norm(moved[:, :3, 3], axis=1)
    assert rig.world_from_rig[2, 3] == pytest.approx(0.0, abs=1e-5), "the car stands on the ground"
    np.testing.assert_allclose(travelled_m, 6.0 * np.abs([-0.02, -0.012, -0.004, 0.004, 0.012, 0.02]), atol=1e-3)


def test_without_lidar_everything_but_the_points_is_the_same(world: Path):
    ref = DdadDataset(world).samples("train")[1]
    without = DdadDataset(world, lidar=False)
    rig, whole = without.load("train", ref), DdadDataset(world).load("train", ref)
    assert [len(view.depth_m) for view in rig.lidar] == [0] * 6
    assert_same_rig(dataclasses.replace(rig, lidar=whole.lidar), whole)
    assert without.lidar_capacity("train") < DdadDataset(world).lidar_capacity("train") + 1


def test_rigs_that_have_no_lidar_are_where_their_front_camera_says(world: Path, tmp_path: Path):
    root = shutil.copytree(world, tmp_path / "world")
    shutil.rmtree(root / "000000" / "point_cloud")
    (scene,) = (root / "000000").glob("scene_*.json")
    stored = json.loads(scene.read_text())
    sweeps = {datum["key"] for datum in stored["data"] if "point_cloud" in datum["datum"]}
    stored["data"] = [datum for datum in stored["data"] if datum["key"] not in sweeps]
    for sample in stored["samples"]:
        sample["datum_keys"] = [key for key in sample["datum_keys"] if key not in sweeps]
    scene.write_text(json.dumps(stored))

    assert "000000" not in {ref.scene for ref in DdadDataset(root).samples("train")}, "with LiDAR it is skipped"
    dataset = DdadDataset(root, lidar=False)
    refs = [ref for ref in dataset.samples("train") if ref.scene == "000000"]
    assert len(refs) == 2
    whole = DdadDataset(world)
    for ref, known in zip(refs, whole.samples("train"), strict=True):
        rig = dataset.load("train", ref)
        assert ref.timestamp != known.timestamp, "the front camera's"
        at_camera = rig.world_from_camera[0] @ np.linalg.inv(rig.rig_from_camera[0])
        np.testing.assert_allclose(rig.world_from_rig, at_camera, atol=1e-6)
        np.testing.assert_allclose(rig.world_from_rig, whole.load("train", known).world_from_rig, atol=0.2)


def test_image_files_are_the_bytes_on_disk(world: Path):
    dataset = DdadDataset(world)
    ref = dataset.samples("train")[0]
    on_disk = [sorted((world / ref.scene / "rgb" / camera).iterdir())[0].read_bytes() for camera in RING]
    assert list(dataset.load("train", ref).image_files) == on_disk


def test_reading_twice_gives_the_same(world: Path):
    ref = DdadDataset(world).samples("val")[1]
    first, second = (DdadDataset(world).load("val", ref) for _ in range(2))
    assert_same_rig(first, second)


def test_a_worker_gets_little_and_reads_the_same(world: Path):
    dataset = DdadDataset(world)
    ref = dataset.samples("val")[0]
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 2000, "no scene travels to a worker"
    assert_same_rig(pickle.loads(pickled).load("val", ref), dataset.load("val", ref))


def test_opening_does_not_read_the_scenes(world: Path, tmp_path: Path):
    root = shutil.copytree(world, tmp_path / "world")
    for scene in root.glob("*/scene_*.json"):
        scene.unlink()
    assert DdadDataset(root).cameras == RING


def test_a_scene_that_is_not_on_disk_matters_only_to_its_split(world: Path, tmp_path: Path):
    root = shutil.copytree(world, tmp_path / "world", ignore=shutil.ignore_patterns("000000", "incomplete"))
    dataset = DdadDataset(root)
    assert len(dataset.samples("val")) == 2
    assert dataset.samples("train") == ()
    assert [str(sample).split("/")[0] for sample in dataset.incomplete("train")] == [
        "scene 000000: no file 000000",
        "scene incomplete: no file incomplete",
    ]


def test_incomplete_samples_are_listed_and_skipped(world: Path):
    dataset = DdadDataset(world)
    lacking = [str(sample) for sample in dataset.incomplete("train")]
    assert lacking == [
        "incomplete sample 000000 lacks CAMERA_07, CAMERA_09, CAMERA_08",
        "incomplete sample 000001 lacks CAMERA_07, CAMERA_09, CAMERA_08",
    ]
    assert "incomplete" not in {ref.scene for ref in dataset.samples("train")}
    assert dataset.incomplete("val") == ()


def test_an_incomplete_sample_cannot_be_loaded(world: Path):
    with pytest.raises(DatasetError, match="incomplete sample 000000 lacks CAMERA_07"):
        DdadDataset(world).load("train", SampleRef("incomplete", "000000", 0))


def test_three_cameras_make_a_dataset_of_their_own(tmp_path: Path):
    root = write_dgp_world(tmp_path / "world", scenes=1, samples=1, incomplete_scene=True)
    shutil.rmtree(root / "000000")
    scene = next((root / "incomplete").glob("scene_*.json")).name
    (root / "ddad.json").write_text(f'{{"scene_splits": {{"2": {{"filenames": ["incomplete/{scene}"]}}}}}}')
    dataset = DdadDataset(root)
    assert dataset.splits == ("test",)
    assert dataset.cameras == FRONT_CAMERAS
    assert dataset.adjacent_pairs == ((0, 1), (2, 0))
    assert len(dataset.load("test", dataset.samples("test")[0]).images) == 3


def test_scenes_that_share_a_folder_are_named_by_their_path(tmp_path: Path):
    root = write_dgp_world(tmp_path / "world", scenes=1, samples=1)
    (root / "000000" / "scene_b.json").write_bytes(next((root / "000000").glob("scene_*.json")).read_bytes())
    (root / "000000" / "scene_a.json").write_bytes((root / "000000" / "scene_b.json").read_bytes())
    (root / "ddad.json").write_text(
        '{"scene_splits": {"0": {"filenames": ["000000/scene_b.json", "000000/scene_a.json"]}}}'
    )
    scenes = [ref.scene for ref in DdadDataset(root).samples("train")]
    assert scenes == ["000000/scene_b", "000000/scene_a"]


def test_lidar_capacity_covers_a_whole_sweep(world: Path):
    dataset = DdadDataset(world)
    capacity = dataset.lidar_capacity("train")
    sweeps = [len(np.load(path)["data"]) for path in (world / "000000").glob("point_cloud/LIDAR/*.npz")]
    assert capacity % 4096 == 0
    assert max(sweeps) <= capacity < max(sweeps) + 4096


def assert_same_rig(a: RigFrames, b: RigFrames) -> None:
    assert (a.scene, a.sample, a.timestamp) == (b.scene, b.sample, b.timestamp)
    assert a.image_files == b.image_files
    for name in ("intrinsics_px", "rig_from_camera", "world_from_camera", "world_from_rig"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for one, other in zip(a.lidar, b.lidar, strict=True):
        np.testing.assert_array_equal(one.uv_px, other.uv_px)
        np.testing.assert_array_equal(one.depth_m, other.depth_m)
