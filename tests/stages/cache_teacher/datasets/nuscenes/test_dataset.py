"""nuScenes as rigs: splits, order, sweeps, what is left out on request, and the geometry against the devkit."""

import json
import pickle
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.cache_teacher.config import NuscenesSettings
from stages.cache_teacher.datasets.street.drive import drive
from tests.nuscenes_world import KEYFRAMES, SCENES, VERSION, WORLD

pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")

from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud

from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset
from stages.cache_teacher.datasets.nuscenes.rig import matrix_of, read_sweep, world_points


def opened(root: Path, *, lidar: bool = True, **settings: Any) -> NuscenesDataset:
    return NuscenesDataset(root, NuscenesSettings(**settings), lidar=lidar)


def test_splits_are_the_official_ones(world: Path):
    dataset = opened(world)
    assert dataset.version == VERSION
    scenes = {split: [sample.scene for sample in dataset.samples(split)] for split in dataset.splits}
    assert scenes == {
        "train": ["scene-0061"] * KEYFRAMES + ["scene-0553"] * KEYFRAMES,
        "val": ["scene-0103"] * KEYFRAMES + ["scene-0916"] * KEYFRAMES,
    }


def test_points_are_the_devkits_for_every_camera(world: Path):
    nusc = NuScenes(VERSION, str(world), verbose=False)
    dataset = opened(world)
    for split in dataset.splits:
        for ref in dataset.samples(split):
            rig, data = dataset.load(split, ref), nusc.get("sample", ref.sample)["data"]
            for camera, points in zip(dataset.cameras, rig.lidar, strict=True):
                uv, depth_m, image = nusc.explorer.map_pointcloud_to_image(data["LIDAR_TOP"], data[camera])
                image.close()
                pixels = np.rint(uv[:2]).astype(int).T.tolist()
                last = {tuple(pixel): depth for pixel, depth in zip(pixels, depth_m, strict=True)}
                found = dict(zip(map(tuple, points.uv_px.tolist()), points.depth_m, strict=True))
                assert found == last
                assert len(found) > 20


def test_a_copy_that_travelled_reads_its_samples_without_tables(world: Path, tmp_path: Path):
    dataset = opened(world)
    ref = dataset.samples("train")[0]
    expected = dataset.load("train", ref)
    moved = tmp_path / "world"
    shutil.copytree(world, moved, ignore=shutil.ignore_patterns("*.json"))
    dataset.root = moved
    copy = pickle.loads(pickle.dumps((dataset, ref)))
    found = copy[0].load("train", copy[1])
    np.testing.assert_array_equal(found.lidar[0].depth_m, expected.lidar[0].depth_m)
    assert len(pickle.dumps(dataset)) < 2000


def test_images_and_poses_are_what_the_world_wrote(world: Path):
    dataset = opened(world)
    rig = dataset.load("train", dataset.samples("train")[1])
    written = next(islice(drive(SCENES["scene-0061"][1], WORLD, 3), 2, None))
    assert rig.timestamp == written.lidar_time_us
    np.testing.assert_allclose(rig.world_from_camera, written.world_from_camera, atol=1e-9)
    np.testing.assert_allclose(rig.rig_from_camera, written.rig_from_camera, atol=1e-9)
    np.testing.assert_allclose(
        rig.world_from_rig, written.world_from_lidar @ np.linalg.inv(written.rig_from_lidar), atol=1e-9
    )
    assert [image.shape for image in rig.images] == [(WORLD.height, WORLD.width, 3)] * 6


def test_lidar_lies_on_the_surfaces_that_the_world_rendered(world: Path):
    dataset = opened(world)
    rig = dataset.load("train", dataset.samples("train")[1])
    written = next(islice(drive(SCENES["scene-0061"][1], WORLD, 3), 2, None))
    apart = []
    for points, depth_m in zip(rig.lidar, written.depth_m, strict=True):
        rendered = depth_m[points.uv_px[:, 1], points.uv_px[:, 0]]
        known = np.isfinite(rendered)
        apart += (np.abs(points.depth_m[known] - rendered[known]) / rendered[known]).tolist()
    assert np.median(apart) < 0.02  # pixels are 1° wide here


def test_sweeps_before_the_keyframe_add_points_for_training_only(world: Path):
    one, three = opened(world), opened(world, sweeps=3)
    for split, more in (("train", True), ("val", False)):
        single, several = (dataset.load(split, dataset.samples(split)[2]) for dataset in (one, three))
        assert (three.notes(split).lidar_sweeps == 3) is more
        for view, both in zip(single.lidar, several.lidar, strict=True):
            pixels = {tuple(pixel): depth for pixel, depth in zip(both.uv_px.tolist(), both.depth_m, strict=True)}
            own = {tuple(pixel): depth for pixel, depth in zip(view.uv_px.tolist(), view.depth_m, strict=True)}
            assert {pixel: pixels[pixel] for pixel in own} == own  # where both see something, the keyframe's stays
        count = [sum(len(view.depth_m) for view in rig.lidar) for rig in (single, several)]
        assert (count[1] > 1.5 * count[0]) if more else (count[1] == count[0])
    assert three.lidar_capacity("train") >= one.lidar_capacity("train")


def test_the_first_keyframe_of_a_scene_has_no_sweep_before_it(world: Path):
    first, second = opened(world, sweeps=9).samples("train")[:2]
    assert (len(first.earlier_sweeps), len(second.earlier_sweeps)) == (0, 2)


def test_points_of_several_sweeps_are_the_devkits(world: Path):
    nusc = NuScenes(VERSION, str(world), verbose=False)
    sample = opened(world, sweeps=3).samples("train")[2]
    lidar, record = sample.lidar, nusc.get("sample", sample.sample)
    assert lidar is not None
    theirs, _ = LidarPointCloud.from_file_multisweep(nusc, record, "LIDAR_TOP", "LIDAR_TOP", nsweeps=3)
    ours = world_points(world, sample)
    ours.transform(np.linalg.inv(matrix_of(lidar.global_from_ego) @ matrix_of(lidar.ego_from_sensor)))
    # Theirs begins with the keyframe's sweep, ours ends with it; the world's LiDAR sees nothing within a metre of it.
    sizes = [len(read_sweep(world / sweep.filename).points[0]) for sweep in (lidar, *sample.earlier_sweeps)]
    parts = np.split(theirs.points, np.cumsum(sizes)[:-1], axis=1)
    np.testing.assert_allclose(ours.points, np.concatenate(parts[::-1], axis=1), atol=2e-4)


def test_keyframes_where_the_car_stands_are_left_out_of_training_only(world: Path, tmp_path: Path):
    root = shutil.copytree(world, tmp_path / "world")
    # The last two keyframes of the first scene at one place: all its sensors' poses become those of the second.
    tables = {name: json.loads((root / VERSION / f"{name}.json").read_text()) for name in ("sample_data", "ego_pose")}
    second, third = [sample.sample for sample in opened(root).samples("train")[1:3]]
    pose_of = {record["ego_pose_token"]: record for record in tables["sample_data"] if record["is_key_frame"]}
    poses = {record["token"]: record for record in tables["ego_pose"]}
    for token, record in pose_of.items():
        if record["sample_token"] == third and "LIDAR_TOP" in record["filename"]:
            (other,) = (
                other
                for other, that in pose_of.items()
                if that["sample_token"] == second and "LIDAR_TOP" in that["filename"]
            )
            poses[token]["translation"] = [value + 0.05 for value in poses[other]["translation"]]
    (root / VERSION / "ego_pose.json").write_text(json.dumps(tables["ego_pose"]))
    dataset = opened(root, static_below_m=0.1)
    assert {second, third}.isdisjoint(sample.sample for sample in dataset.samples("train"))
    assert len(dataset.samples("train")) == 2 * KEYFRAMES - 2
    assert dataset.notes("train").left_out == ("2 where the car moves less than 0.1 m",)
    assert len(dataset.samples("val")) == 2 * KEYFRAMES
    assert opened(root, static_below_m=1e4).samples("train") == ()


def test_only_listed_tokens_are_used(world: Path, tmp_path: Path):
    whole = opened(world)
    chosen = [whole.samples("val")[4].sample, whole.samples("val")[1].sample]
    listed = tmp_path / "val.txt"
    listed.write_text("# of a paper\n" + "\n".join(chosen) + "\n\n")
    dataset = opened(world, tokens=listed)
    assert [sample.sample for sample in dataset.samples("val")] == chosen[::-1]
    assert dataset.notes("val").left_out == (f"{2 * KEYFRAMES - 2} that {listed} does not name",)
    assert dataset.samples("train") == ()


def test_what_descriptions_say_of_light_and_weather(world: Path):
    dataset = opened(world)
    assert dataset.notes("train").scene_conditions == {"scene-0061": ("day", "dry"), "scene-0553": ("day", "rain")}
    assert dataset.notes("val").scene_conditions == {"scene-0103": ("day", "dry"), "scene-0916": ("night", "rain")}


def test_without_lidar_no_sweep_is_needed(world: Path, tmp_path: Path):
    root = shutil.copytree(world, tmp_path / "world", ignore=shutil.ignore_patterns("*.bin"))
    dataset = opened(root, lidar=False)
    rig = dataset.load("train", dataset.samples("train")[0])
    assert [len(view.depth_m) for view in rig.lidar] == [0] * 6


def test_splits_of_ones_own(world: Path, tmp_path: Path):
    root = shutil.copytree(world, tmp_path / "world")
    (root / VERSION).rename(root / "v1.0-mycar")
    (root / "v1.0-mycar" / "splits.json").write_text(json.dumps({"train": ["scene-0916"], "val": ["scene-0061"]}))
    dataset = opened(root)
    assert {split: {sample.scene for sample in dataset.samples(split)} for split in dataset.splits} == {
        "train": {"scene-0916"},
        "val": {"scene-0061"},
    }
