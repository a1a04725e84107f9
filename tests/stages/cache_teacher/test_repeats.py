"""One rig under two names is found from the sizes of files, and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import DatasetError
from stages.cache_teacher import copied_rigs
from stages.cache_teacher.datasets.base import RigDataset
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.datasets.folder.dataset import FolderDataset
from stages.cache_teacher.repeats import find_repeats
from tests.dgp_world import write_dgp_world
from tests.folder_world import CAMERAS, write_folder_world


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_world(tmp_path_factory.mktemp("folder") / "world")


@pytest.fixture
def mine(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "world")


@pytest.fixture
def ddad(tmp_path: Path) -> Path:
    return write_dgp_world(tmp_path / "world", samples=2, size_hw=(24, 40))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def repeats_of(dataset: RigDataset) -> list[str]:
    return find_repeats(dataset, {split: dataset.samples(split) for split in dataset.splits})


def test_sound_datasets_have_none_and_no_image_is_read(mine: Path, ddad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied_rigs, "_pixels", lambda path: pytest.fail("an image was decoded"))
    monkeypatch.setattr(copied_rigs, "_sample", lambda path, size: pytest.fail("an image was read"))
    assert repeats_of(FolderDataset(mine)) == []
    assert repeats_of(DdadDataset(ddad)) == []


def test_a_copy_of_a_drive_in_another_folder(mine: Path) -> None:
    shutil.copytree(mine / "monday", mine / "copy")
    edit(mine / "dataset.json", lambda content: content["splits"]["val"].append("copy"))
    with pytest.raises(DatasetError, match="monday sample 000 of train and copy sample 000 of val have the same ima"):
        repeats_of(FolderDataset(mine))


def test_a_copy_of_a_part_of_a_drive_with_other_names_and_times(mine: Path) -> None:
    """As where a drive was cut in two that overlap: one rig is in both."""
    shutil.copytree(mine / "monday", mine / "part")

    def part(scene: Any) -> None:
        scene["rigs"] = scene["rigs"][1:]
        scene["rigs"][0].update(sample="first", timestamp=5)

    edit(mine / "part" / "scene.json", part)
    edit(mine / "dataset.json", lambda content: content["splits"]["val"].append("part"))
    with pytest.raises(DatasetError, match=r"monday sample 001 of train and part sample first of val .* --skip"):
        repeats_of(FolderDataset(mine))


def test_a_copy_twice_in_one_split(mine: Path) -> None:
    shutil.copytree(mine / "monday", mine / "copy")
    edit(mine / "dataset.json", lambda content: content["splits"]["train"].append("copy"))
    with pytest.raises(DatasetError, match="monday sample 000 of train and copy sample 000 of train"):
        repeats_of(FolderDataset(mine))


def test_one_rig_twice_in_a_scene(mine: Path) -> None:
    edit(mine / "monday" / "scene.json", lambda s: s["rigs"].append({**s["rigs"][0], "sample": "again"}))
    with pytest.raises(DatasetError, match="monday sample 000 of train and monday sample again of train are one"):
        repeats_of(FolderDataset(mine))


def test_a_car_that_stands_in_a_simulator_is_taken(mine: Path) -> None:
    """Two rigs of one scene see the same."""
    for path in (mine / "monday").glob("*/001.jpg"):
        shutil.copy(path.with_name("000.jpg"), path)
    assert repeats_of(FolderDataset(mine)) == []


def test_scenes_that_begin_with_covered_lenses_are_taken(mine: Path) -> None:
    for scene in ("monday", "wednesday"):
        for path in (mine / scene).glob("*/000.jpg"):
            Image.fromarray(np.zeros((48, 80, 3), np.uint8)).save(path)
    assert repeats_of(FolderDataset(mine)) == []


def test_a_copy_with_another_image_of_one_camera(mine: Path) -> None:
    shutil.copytree(mine / "monday", mine / "copy")
    for path in (mine / "copy" / "back").glob("*.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)).save(path)
    edit(mine / "dataset.json", lambda content: content["splits"]["val"].append("copy"))
    with pytest.raises(DatasetError, match=r"have the same images of 5 of 6 cameras, pixel for pixel, such as .*\.jpg"):
        repeats_of(FolderDataset(mine))


@pytest.mark.parametrize("camera", ["front", "front_left", "back", "back_right"])
@pytest.mark.parametrize("one_size", [False, True])
def test_a_copy_in_which_one_camera_was_edited(mine: Path, camera: str, one_size: bool) -> None:
    if one_size:
        for path in mine.glob("*/*/*.jpg"):
            path.write_bytes(path.read_bytes().ljust(20_000, b"\0"))
    shutil.copytree(mine / "monday", mine / "copy")
    for path in (mine / "copy" / camera).glob("*.jpg"):
        data = path.read_bytes()
        comment = data[:2] + b"\xff\xfe\x00\x06abcd" + data[2:]
        path.write_bytes(comment[: len(data)] if one_size else comment)
    edit(mine / "dataset.json", lambda content: content["splits"]["val"].append("copy"))
    with pytest.raises(DatasetError, match="monday sample 000 of train and copy sample 000 of val have the same ima"):
        repeats_of(FolderDataset(mine))


@pytest.mark.parametrize("cameras", [1, 6])
def test_a_copy_with_a_comment_in_its_images(mine: Path, cameras: int) -> None:
    shutil.copytree(mine / "monday", mine / "copy")
    for camera in CAMERAS[:cameras]:
        for path in (mine / "copy" / camera).glob("*.jpg"):
            data = path.read_bytes()
            path.write_bytes(data[:2] + b"\xff\xfe\x00\x09my copy" + data[2:])
    edit(mine / "dataset.json", lambda content: content["splits"]["val"].append("copy"))
    with pytest.raises(DatasetError, match="have the same images of 6 of 6 cameras"):
        repeats_of(FolderDataset(mine))


def test_two_ddad_scene_files_of_one_folder_that_name_the_same_images(ddad: Path) -> None:
    (scene,) = (ddad / "000000").glob("scene_*.json")
    shutil.copy(scene, scene.with_name("scene_again.json"))
    edit(ddad / "ddad.json", lambda c: c["scene_splits"]["0"]["filenames"].append("000000/scene_again.json"))
    with pytest.raises(DatasetError, match=r"sample 000000 of train and 000000/scene_again sample 000000 of train are"):
        repeats_of(DdadDataset(ddad))


def test_a_ddad_image_that_two_cameras_have(ddad: Path) -> None:
    def twice(scene: Any) -> None:
        images = {d["id"]["name"]: d["datum"]["image"] for d in scene["data"][:7] if "image" in d["datum"]}
        images["CAMERA_05"]["filename"] = images["CAMERA_01"]["filename"]

    for scene in ddad.glob("000000/scene_*.json"):
        edit(scene, twice)
    with pytest.raises(DatasetError, match=r"000000 of train: CAMERA_01 and CAMERA_05 have the same image .*\.jpg"):
        repeats_of(DdadDataset(ddad))


def test_a_scene_of_the_same_name_in_both_splits_is_judged_by_its_files(ddad: Path) -> None:
    """Numbered anew in each split: other drives, which share nothing but the names."""
    for number, scene in (("0", "000000"), ("1", "000001")):
        shutil.move(ddad / scene, ddad / f"split{number}" / "000000")
        edit(
            ddad / "ddad.json",
            lambda c, n=number: c["scene_splits"][n].update(
                filenames=[f"split{n}/000000/{Path(c['scene_splits'][n]['filenames'][0]).name}"]
            ),
        )
    assert repeats_of(DdadDataset(ddad)) == []
    shutil.rmtree(ddad / "split1" / "000000")
    shutil.copytree(ddad / "split0" / "000000", ddad / "split1" / "000000")
    edit(
        ddad / "ddad.json",
        lambda c: c["scene_splits"]["1"].update(
            filenames=[c["scene_splits"]["0"]["filenames"][0].replace("split0", "split1")]
        ),
    )
    with pytest.raises(DatasetError, match="000000 sample 000000 of train and 000000 sample 000000 of val have"):
        repeats_of(DdadDataset(ddad))
