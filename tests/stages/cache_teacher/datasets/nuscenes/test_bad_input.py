"""What is wrong with nuScenes on disk is said in one line that names the file, and never ends in a crash."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.config import NuscenesSettings
from tests.nuscenes_world import KEYFRAMES, VERSION

pytest.importorskip("nuscenes", reason="needs nuscenes-devkit: make test-nuscenes")

from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    return shutil.copytree(world, tmp_path / "world")


def read_all(root: Path, **settings: Any) -> None:
    dataset = NuscenesDataset(root, NuscenesSettings(**settings))
    for split in dataset.splits:
        dataset.lidar_capacity(split)
        for sample in dataset.samples(split):
            dataset.load(split, sample)


def table(root: Path, name: str) -> Path:
    return root / VERSION / f"{name}.json"


def edit(root: Path, name: str, change: Callable[[Any], object]) -> None:
    records = json.loads(table(root, name).read_text())
    changed = change(records)
    table(root, name).write_text(json.dumps(records if changed is None else changed))


def only(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def refused(root: Path, **settings: Any) -> str:
    with pytest.raises(DatasetError) as raised:
        read_all(root, **settings)
    message = str(raised.value)
    assert "\n" not in message
    assert str(root) in message
    return message


def test_a_missing_folder(tmp_path: Path):
    assert "no such folder" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("asked", [None, "v1.0-trainval"])
def test_a_folder_without_tables(tmp_path: Path, asked: str | None):
    assert "it has none; extract the metadata" in refused(tmp_path, version=asked)


def test_an_unknown_version(root: Path):
    message = refused(root, version="v1.0-trainval")
    assert "has no version 'v1.0-trainval'" in message
    assert f"it has {VERSION}: pass one with --version" in message


def test_two_versions_and_none_asked_for(root: Path):
    shutil.copytree(root / VERSION, root / "v1.0-trainval")
    assert "it has v1.0-mini, v1.0-trainval: pass one with --version" in refused(root)


@pytest.mark.parametrize("name", ["sample", "ego_pose", "map", "sample_data"])
def test_a_missing_table(root: Path, name: str):
    table(root, name).unlink()
    assert f"{name}.json: is missing" in refused(root, version=VERSION)


@pytest.mark.parametrize("content", [b"", b"[{", b"\xff\xfe", b"{}", b"[1]", b'[{"token": 1}]'])
@pytest.mark.parametrize("name", ["sample_data", "calibrated_sensor", "scene"])
def test_a_damaged_table(root: Path, name: str, content: bytes):
    table(root, name).write_bytes(content)
    refused(root)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("scene", lambda records: records[0].update(first_sample_token="gone")),
        ("scene", lambda records: records[0].pop("description") and None),
        ("scene", lambda records: records[0].update(nbr_samples=99)),
        ("sample", lambda records: records[0].update(next="gone")),
        ("ego_pose", lambda records: records[0].update(rotation=[0, 0, 0, 0])),
        ("ego_pose", lambda records: records[0].update(rotation=[1, 0, 0])),
        ("ego_pose", lambda records: records[0].update(translation=[1, float("nan"), 0])),
        ("ego_pose", lambda records: records.pop(0) and None),
        ("calibrated_sensor", lambda records: records[0].update(camera_intrinsic=[[1, 2], [3, 4]])),
        ("sensor", lambda records: [record for record in records if record["modality"] != "camera"]),
    ],
)
def test_tables_that_do_not_fit_together(root: Path, name: str, change: Callable[[Any], object]):
    edit(root, name, change)
    refused(root)


def test_scenes_of_no_split(root: Path):
    edit(root, "scene", lambda records: [record.update(name=f"mine-{i}") for i, record in enumerate(records)] and None)
    message = refused(root)
    assert "none of its 4 scenes is in an official split" in message
    assert "splits.json" in message


@pytest.mark.parametrize("content", ["[", "[]", '{"train": 3}'])
def test_damaged_splits_of_ones_own(root: Path, content: str):
    (root / VERSION / "splits.json").write_text(content)
    assert "splits.json" in refused(root)


@pytest.mark.parametrize("sensor", ["CAM_BACK", "LIDAR_TOP"])
@pytest.mark.parametrize("lost", ["record", "file"])
def test_a_keyframe_without_a_camera_or_the_lidar_is_incomplete(root: Path, sensor: str, lost: str):
    if lost == "file":
        only(root, f"samples/{sensor}/scene-0061*").unlink()
    else:
        first = only(root, f"samples/{sensor}/scene-0061*").name
        edit(root, "sample_data", lambda records: [r for r in records if not r["filename"].endswith(first)])
    dataset = NuscenesDataset(root, NuscenesSettings())
    assert len(dataset.samples("train")) == 2 * KEYFRAMES - 1
    assert [sample.lacks for sample in dataset.incomplete("train")] == [(sensor,)]


def test_a_point_cloud_of_the_wrong_size(root: Path):
    path = only(root, "samples/LIDAR_TOP/*.bin")
    path.write_bytes(path.read_bytes()[:-3])
    message = refused(root)
    assert str(path) in message
    assert "expected a multiple of 20" in message


def test_a_damaged_image(root: Path):
    path = only(root, "samples/CAM_FRONT/*.jpg")
    path.write_bytes(path.read_bytes()[:200])
    assert str(path) in refused(root)


def test_a_file_outside_the_dataset(root: Path):
    (root / "samples" / "CAM_FRONT").rename(root.parent / "elsewhere")
    name = only(root.parent, "elsewhere/*").name
    edit(
        root,
        "sample_data",
        lambda records: (
            [
                r.update(filename="samples/../../elsewhere/" + Path(r["filename"]).name)
                for r in records
                if "/CAM_FRONT/" in r["filename"]
            ]
            and None
        ),
    )
    message = refused(root)
    assert f"elsewhere/{name}" in message
    assert "expected a path inside" in message


def test_a_missing_sweep_between_keyframes(root: Path):
    only(root, "sweeps/LIDAR_TOP/*.bin").unlink()
    read_all(root)
    with pytest.raises(DatasetError, match=r"^sweeps/LIDAR_TOP/.*extract them too, or leave out --sweeps"):
        read_all(root, sweeps=3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names no token"),
        (b"# nothing\n\n", "names no token"),
        (b"gone\nlost\nno\nnot\n", "4 of its 4 tokens are not in the dataset (gone, lost, no, …)"),
        (b"\xff", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_token_list_that_cannot_be_used(world: Path, tmp_path: Path, content: bytes | None, said: str):
    listed = tmp_path / "tokens.txt"
    if content is not None:
        listed.write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        read_all(world, tokens=listed)
    assert str(raised.value).startswith(f"{listed}: ")
    assert said in str(raised.value)
