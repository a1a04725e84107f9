"""Files that are missing or empty are found by planning, all of them, each with its name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.cache_teacher.datasets.base import RigDataset, SampleRef, lidar_capacity
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.datasets.folder.dataset import FolderDataset
from stages.cache_teacher.datasets.raw_files import FilesOnDisk
from tests.dgp_world import write_dgp_world
from tests.folder_world import write_folder_world


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("dgp") / "whole", scenes=3, samples=3, size_hw=(24, 40))


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "world")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lacking(dataset: RigDataset, split: str = "train") -> list[str]:
    return [str(sample) for sample in dataset.incomplete(split)]


def test_all_are_found_at_once(root: Path) -> None:
    image, sweep = sorted(root.glob("000000/rgb/CAMERA_07/*"))[1], sorted(root.glob("000001/point_cloud/LIDAR/*"))[2]
    image.unlink()
    empty(sweep)
    dataset = DdadDataset(root)
    assert lacking(dataset) == [
        f"000000 sample 000001 lacks CAMERA_07 (no file {image.relative_to(root)})",
        f"000001 sample 000002 lacks LIDAR (empty file {sweep.relative_to(root)})",
    ]
    assert len(dataset.samples("train")) == 4
    for ref in dataset.samples("train"):
        dataset.load("train", ref)


@pytest.mark.parametrize("damage", [empty, link_to_nothing, folder_instead, Path.unlink])
def test_what_cannot_be_read_counts_as_missing(root: Path, damage: Callable[[Path], None]) -> None:
    damage(sorted(root.glob("000000/rgb/CAMERA_01/*"))[0])
    assert len(lacking(DdadDataset(root))) == 1
    assert len(DdadDataset(root, lidar=False).incomplete("train")) == 1


def test_without_lidar_no_sweep_is_missed(root: Path) -> None:
    shutil.rmtree(root / "000000" / "point_cloud")
    assert len(lacking(DdadDataset(root))) == 3
    assert lacking(DdadDataset(root, lidar=False)) == []


def test_a_scene_without_its_file_is_one_line(root: Path) -> None:
    scene = next(root.glob("000001/scene_*"))
    scene.write_text(scene.read_text()[:-40])
    next(root.glob("000000/scene_*")).unlink()
    missing, cut = lacking(DdadDataset(root))
    assert missing.startswith("scene 000000: no file 000000/scene_")
    assert cut.startswith(f"scene 000001: {scene}: is not a DGP v1 file")


@pytest.mark.parametrize("damage", [empty, Path.unlink, lambda path: path.write_text('{"names": ')])
def test_a_calibration_that_cannot_be_read_costs_its_scene(root: Path, damage: Callable[[Path], None]) -> None:
    damage(next(root.glob("000000/calibration/*")))
    dataset = DdadDataset(root)
    assert [line.split(" lacks ")[0] for line in lacking(dataset)] == [f"000000 sample 00000{i}" for i in range(3)]
    assert all("lacks its calibration (" in line for line in lacking(dataset))
    assert {ref.scene for ref in dataset.samples("train")} == {"000001"}


def with_depth(root: Path) -> Path:
    """Depth maps for every image."""
    for file in root.glob("*/scene_*.json"):
        scene = json.loads(file.read_text())
        for datum in scene["data"]:
            if image := datum["datum"].get("image"):
                name = image["filename"].replace("rgb/", "depth/").replace(".jpg", ".npz")
                image["annotations"] = {"6": name}
                (file.parent / name).parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(file.parent / name, data=np.ones((24, 40), np.float32))
        file.write_text(json.dumps(scene))
    return root


def test_one_depth_map_of_a_sample_costs_the_sample_all_of_them_the_depth(root: Path) -> None:
    with_depth(root)
    assert DdadDataset(root).without_dense_depth("train") is None
    sorted(root.glob("000000/depth/CAMERA_05/*"))[0].unlink()
    (line,) = lacking(DdadDataset(root))
    assert line.startswith("000000 sample 000000 lacks dense depth of CAMERA_05 (no file 000000/depth/CAMERA_05/")
    assert lacking(DdadDataset(root, dense_depth=False)) == []
    for folder in root.glob("*/depth"):
        shutil.rmtree(folder)
    dataset = DdadDataset(root)
    ref = dataset.samples("train")[0]
    assert lacking(dataset) == []
    assert dataset.without_dense_depth("train") == ref
    assert dataset.load("train", ref).dense_depth_m is None


def test_an_empty_file_of_a_described_folder(tmp_path: Path) -> None:
    root = write_folder_world(tmp_path / "world")
    empty(root / "monday" / "front" / "000.jpg")
    assert lacking(FolderDataset(root)) == ["monday sample 000 lacks front (empty file monday/front/000.jpg)"]


def test_a_folder_is_listed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    scandir = os.scandir

    def counting(folder: str) -> object:
        listed.append(str(folder))
        return scandir(folder)

    files, paths = FilesOnDisk(root), sorted(root.glob("000000/rgb/*/*"))
    monkeypatch.setattr(os, "scandir", counting)
    for path in paths:
        assert files.lacks(root, str(path.relative_to(root)), root) is None
    assert listed == list(dict.fromkeys(str(path.parent) for path in paths))


def test_room_for_points_is_judged_from_the_sweeps_that_can_be_read(root: Path) -> None:
    sorted(root.glob("000000/point_cloud/LIDAR/*"))[0].write_bytes(b"damaged")
    dataset = DdadDataset(root)
    assert dataset.lidar_capacity("train") == DdadDataset(root).lidar_capacity("val")
    assert lidar_capacity([SampleRef("a", "b", 0)], lambda _: 5000) == 8192
