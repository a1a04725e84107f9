"""One drive is never used twice, under whatever name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.config import CacheTeacherConfig, TeacherSettings
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.datasets.folder.dataset import FolderDataset
from stages.cache_teacher.datasets.one_drive import refuse_one_drive_twice
from stages.cache_teacher.execute import execute
from stages.cache_teacher.plan import plan
from stages.progress import Silent
from tests.dgp_world import write_dgp_world
from tests.folder_world import write_folder_world
from tests.tiny_teachers import write_tiny_teacher


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_world(tmp_path_factory.mktemp("folder") / "world")


@pytest.fixture(scope="module")
def ddad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("dgp") / "world", samples=1, size_hw=(24, 40))


def splits(root: Path, **named: list[str]) -> Path:
    file = root / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "splits": named}))
    return root


@pytest.mark.parametrize("again", ["./monday", "monday/", "monday//", "./monday/.", "link", "outer/link", "monday"])
def test_a_folder_dataset_with_a_drive_in_train_and_val(mine: Path, tmp_path: Path, again: str) -> None:
    root = shutil.copytree(mine, tmp_path / "world")
    (root / "outer").mkdir()
    (root / "link").symlink_to("monday")
    (root / "outer" / "link").symlink_to("../monday")
    with pytest.raises(DatasetError, match=r"one scene|twice") as refused:
        FolderDataset(splits(root, train=["monday", "tuesday"], val=[again]))
    message = str(refused.value)
    assert message.startswith(f"{root / 'dataset.json'}: splits name ")
    assert "monday" in message
    assert again in message
    assert "(train and val)" in message


def test_a_drive_twice_in_one_split(mine: Path, tmp_path: Path) -> None:
    root = splits(shutil.copytree(mine, tmp_path / "world"), train=["monday", "./monday"])
    with pytest.raises(DatasetError, match=r"monday and \./monday, which are one scene \(train\)"):
        FolderDataset(root)


def test_a_path_through_another_folder_is_refused_as_it_is(mine: Path, tmp_path: Path) -> None:
    root = splits(shutil.copytree(mine, tmp_path / "world"), train=["monday"], val=["tuesday/../monday"])
    with pytest.raises(DatasetError, match="expected a path inside"):
        FolderDataset(root)


def test_a_file_system_that_takes_two_names_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that knows no upper case: both names lead to one folder, by its number."""
    (tmp_path / "monday").mkdir()
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **more: stat(path.with_name(path.name.lower()), **more))
    listed = [("train", "monday", tmp_path / "monday"), ("val", "Monday", tmp_path / "Monday")]
    with pytest.raises(DatasetError, match="monday and Monday, which are one scene"):
        refuse_one_drive_twice(listed, tmp_path / "dataset.json")


def test_drives_that_differ_are_taken(mine: Path) -> None:
    assert FolderDataset(mine).splits == ("train", "val")


def test_one_image_for_two_cameras(mine: Path, tmp_path: Path) -> None:
    root = shutil.copytree(mine, tmp_path / "world")
    file = root / "monday" / "scene.json"
    scene = json.loads(file.read_text())
    scene["rigs"][0]["images"]["back"] = "./" + scene["rigs"][0]["images"]["front"]
    file.write_text(json.dumps(scene))
    with pytest.raises(DatasetError, match=r"gives two cameras the image front/000\.jpg"):
        FolderDataset(root).samples("train")


@pytest.mark.parametrize("spelling", ["./{}", "link/{}"])
def test_ddad_with_a_scene_file_under_another_name(ddad: Path, tmp_path: Path, spelling: str) -> None:
    root = shutil.copytree(ddad, tmp_path / "world")
    file = root / "ddad.json"
    content = json.loads(file.read_text())
    (scene, *_) = content["scene_splits"]["0"]["filenames"]
    (root / "link").symlink_to(Path(scene).parent)
    again = spelling.format(scene if spelling.startswith(".") else Path(scene).name)
    content["scene_splits"]["1"]["filenames"].append(again)
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="which are one scene") as refused:
        DdadDataset(root)
    assert f"{scene} and {again}" in str(refused.value)


def with_one_file_in_both_splits(ddad: Path, folder: Path) -> Path:
    root = shutil.copytree(ddad, folder / "world")
    content = json.loads((root / "ddad.json").read_text())
    content["scene_splits"]["1"] = content["scene_splits"]["0"]
    (root / "ddad.json").write_text(json.dumps(content))
    return root


def test_ddad_with_one_file_in_both_splits_is_taken_as_tris_samples_are_and_the_plan_says_so(
    ddad: Path, tmp_path: Path
) -> None:
    root = with_one_file_in_both_splits(ddad, tmp_path)
    dataset = DdadDataset(root)
    assert dataset.samples("train") == dataset.samples("val")
    config = CacheTeacherConfig(
        dataset="ddad", root=root, cache=str(tmp_path / "zarr"), teacher=TeacherSettings(id="street")
    )
    doubts = [line for line in plan(config).describe() if line.startswith("doubtful")]
    assert len(doubts) == 1
    assert "train and val share 1 rig of 000000: who learns from the one and is scored on the other" in doubts[0]
    one_split = config.model_copy(update={"splits": ("train",)})
    assert not [line for line in plan(one_split).describe() if line.startswith("doubtful")]


@pytest.mark.parametrize("listed_still", [True, False])
def test_a_drive_of_a_split_that_is_in_the_cache_from_an_earlier_run(
    ddad: Path, tmp_path: Path, *, listed_still: bool
) -> None:
    root = with_one_file_in_both_splits(ddad, tmp_path)
    config = CacheTeacherConfig.model_validate(
        {
            "dataset": "ddad",
            "root": root,
            "cache": str(tmp_path / "zarr"),
            "teacher": {"id": str(write_tiny_teacher(tmp_path / "teacher"))},
            "image": {"height": 48, "width": 80},
            "splits": ("train",),
        }
    )
    execute(plan(config), Silent(), code_version="test")
    if not listed_still:
        content = json.loads((root / "ddad.json").read_text())
        del content["scene_splits"]["0"]
        (root / "ddad.json").write_text(json.dumps(content))
    doubts = plan(config.model_copy(update={"splits": ("val",)})).shared
    assert len(doubts) == 1
    assert "who learns from the one and is scored on the other has seen the answers" in doubts[0]
