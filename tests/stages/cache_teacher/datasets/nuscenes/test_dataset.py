"""nuScenes as rigs: splits, order, sweeps, what is left out on request, and the geometry against the devkit."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.cache_teacher.config import NuscenesSettings
from tests.nuscenes_world import KEYFRAMES, VERSION

pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")

from nuscenes.nuscenes import NuScenes

from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset


def opened(root: Path, *, lidar: bool = True, **settings: Any) -> NuscenesDataset:
    return NuscenesDataset(root, NuscenesSettings(**settings), "fail", lidar=lidar)


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
