"""What is wrong with a dataset on disk is said in one line that names the file, and never ends in a crash."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import SampleRef
from stages.cache_teacher.datasets.ddad import DdadDataset
from tests.dgp_world import write_dgp_world

Json = Any
Damage = Callable[[Path], str]
"""Damages a dataset of two scenes; returns the part of the message that names the file."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("dgp") / "whole", samples=1, size_hw=(24, 40))


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "world")


def read_all(root: Path) -> None:
    """What is found by planning is raised like what is found by reading."""
    dataset = DdadDataset(root)
    for split in dataset.splits:
        for lacking in dataset.incomplete(split):
            raise DatasetError(f"{lacking}; expected a complete sample")
        for ref in dataset.samples(split):
            dataset.load(split, ref)
        dataset.lidar_capacity(split)


def only(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def file(pattern: str, write: Callable[[Path], object]) -> Damage:
    """Damage to the first file that matches the pattern."""

    def damage(root: Path) -> str:
        path = only(root, pattern)
        write(path)
        return str(path)

    return damage


def edit(pattern: str, change: Callable[[Json], object]) -> Damage:
    """A change to the content of the first JSON file that matches the pattern."""

    def write(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return file(pattern, write)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save_npy_as_npz(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.zeros((5, 4)))


def sensor(scene: Json, name: str) -> Json:
    datum = next(datum for datum in scene["data"] if datum["id"]["name"] == name)["datum"]
    return datum.get("image") or datum["point_cloud"]


def drop(calibration: Json, name: str) -> None:
    index = calibration["names"].index(name)
    for column in calibration.values():
        del column[index]


def mirror(calibration: Json) -> None:
    """Swap the places of the two front side cameras."""
    names = calibration["names"]
    left, right = names.index("CAMERA_05"), names.index("CAMERA_06")
    poses = calibration["extrinsics"]
    poses[left], poses[right] = poses[right], poses[left]


SCENE = "000000/scene_*.json"
CALIBRATION = "000000/calibration/*.json"
IMAGE = "000000/rgb/CAMERA_07/*.jpg"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
SWEEP = "000000/point_cloud/LIDAR/*.npz"

DAMAGES: dict[str, tuple[Damage, str]] = {
    "dataset file is no JSON": (file("ddad.json", halve), "Invalid JSON"),
    "dataset file without splits": (edit("ddad.json", lambda d: d.pop("scene_splits")), "scene_splits: Field required"),
    "dataset file leads out": (
        edit("ddad.json", lambda d: d["scene_splits"]["0"].update(filenames=["../other/scene.json"])),
        "expected a path inside",
    ),
    "scene listed twice": (
        edit("ddad.json", lambda d: d["scene_splits"]["0"].update(filenames=d["scene_splits"]["0"]["filenames"] * 2)),
        "twice in a split",
    ),
    "scene missing": (file(SCENE, Path.unlink), "scene 000000: no file 000000/scene_"),
    "scene is no JSON": (file(SCENE, halve), "Invalid JSON"),
    "scene is no text": (file(SCENE, lambda p: p.write_bytes(b"\xff\x00\x81")), "Invalid JSON"),
    "scene of another form": (edit(SCENE, lambda s: s["data"][0].update(id=7)), r"data\.0\.id"),
    "timestamp is none": (edit(SCENE, lambda s: s["data"][0]["id"].update(timestamp="noon")), "timestamp 'noon'"),
    "pose is NaN": (
        edit(SCENE, lambda s: sensor(s, "CAMERA_08")["pose"]["translation"].update(x=float("nan"))),
        "CAMERA_08 of sample 000000: has the pose",
    ),
    "pose is infinite": (
        edit(SCENE, lambda s: sensor(s, "LIDAR")["pose"]["translation"].update(z=float("inf"))),
        "LIDAR of sample 000000: has the pose",
    ),
    "pose is no rotation": (
        edit(SCENE, lambda s: sensor(s, "LIDAR")["pose"]["rotation"].update(qx=0.9)),
        "a quaternion of norm 1",
    ),
    "image path leads out": (
        edit(SCENE, lambda s: sensor(s, "CAMERA_01").update(filename="../../secret.jpg")),
        "expected a path inside",
    ),
    "sweep path is absolute": (
        edit(SCENE, lambda s: sensor(s, "LIDAR").update(filename="/etc/passwd")),
        "expected a path inside",
    ),
    "path holds a zero byte": (
        edit(SCENE, lambda s: sensor(s, "LIDAR").update(filename="a\0b")),
        "expected a path inside",
    ),
    "calibration key leads out": (
        edit(SCENE, lambda s: s["samples"][0].update(calibration_key="../../key")),
        "expected a path inside",
    ),
    "calibration missing": (file(CALIBRATION, Path.unlink), "lacks its calibration .no file 000000/calibration/"),
    "calibration is no JSON": (file(CALIBRATION, halve), "Invalid JSON"),
    "calibration lacks a camera": (edit(CALIBRATION, lambda c: drop(c, "CAMERA_09")), "expected CAMERA_09 as well"),
    "calibration lacks the LiDAR": (edit(CALIBRATION, lambda c: drop(c, "LIDAR")), "expected LIDAR as well"),
    "calibration is uneven": (edit(CALIBRATION, lambda c: c["names"].pop()), "6 names, 7 intrinsics"),
    "calibration is not finite": (
        edit(CALIBRATION, lambda c: c["intrinsics"][1].update(cx=float("nan"))),
        "CAMERA_01 has the intrinsics",
    ),
    "mounting is no rotation": (
        edit(CALIBRATION, lambda c: c["extrinsics"][2]["rotation"].update(qw=2.0)),
        "CAMERA_05: has the pose",
    ),
    "rings differ": (edit("000001/calibration/*.json", mirror), "orders the cameras"),
    "image missing": (file(IMAGE, Path.unlink), "lacks CAMERA_07 .no file 000000/rgb/"),
    "image truncated": (file(IMAGE, halve), "does not decode"),
    "image is none": (file(IMAGE, lambda p: p.write_bytes(b"<html>404</html>")), "does not decode"),
    "image in an unexpected format": (
        file(IMAGE, lambda p: Image.new("RGB", (40, 24)).save(p, "GIF")),
        "unknown format",
    ),
    "image empty": (file(IMAGE, lambda p: p.write_bytes(b"")), "lacks CAMERA_07 .empty file 000000/rgb/"),
    "image of another size": (
        file(IMAGE, lambda p: Image.new("RGB", (40, 20)).save(p)),
        r"is 40×20 pixels; expected 40×24",
    ),
    "image too large": (file(IMAGE, lambda p: Image.new("L", (65537, 1)).save(p, "PNG")), "expected at most 65536"),
    "sweep missing": (file(SWEEP, Path.unlink), "lacks LIDAR .no file 000000/point_cloud/"),
    "sweep truncated": (file(SWEEP, halve), "is not a LiDAR sweep"),
    "image is a pointer": (file(IMAGE, lambda p: p.write_bytes(POINTER)), "pointer of Git LFS"),
    "sweep is a pointer": (file(SWEEP, lambda p: p.write_bytes(POINTER)), "pointer of Git LFS"),
    "datum named twice": (edit(SCENE, lambda s: s["data"].append(s["data"][0])), "has the datum key .* twice"),
    "sensor calibrated twice": (
        edit(CALIBRATION, lambda c: [values.append(values[0]) for values in c.values()]),
        "has the sensor .* twice",
    ),
    "scene in UTF-16": (file(SCENE, lambda p: p.write_text(p.read_text(), "utf-16")), "is UTF-16 text"),
    "scene with a key twice": (
        file(SCENE, lambda p: p.write_text(p.read_text().replace("{", '{"data": [], ', 1))),
        "has the key 'data' twice in one object, at line 1, column 2 and at",
    ),
    "sweep is no npz": (file(SWEEP, lambda p: p.write_bytes(b"nothing")), "is not a LiDAR sweep"),
    "sweep is a plain array": (file(SWEEP, save_npy_as_npz), "is not a LiDAR sweep"),
    "sweep without data": (file(SWEEP, lambda p: np.savez(p, points=np.zeros((5, 4)))), "expected an npz whose `data`"),
    "sweep of objects": (
        file(SWEEP, lambda p: np.savez(p, data=np.array([[{}] * 4], dtype=object))),
        "`data` is object|allow_pickle=False",
    ),
    "sweep of another shape": (file(SWEEP, lambda p: np.savez(p, data=np.zeros((5, 3)))), r"shape \(5, 3\)"),
    "sweep of another type": (file(SWEEP, lambda p: np.savez(p, data=np.zeros((5, 4), int))), "`data` is int64"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_named(root: Path, case: str):
    damage, found = DAMAGES[case]
    named = damage(root)
    with pytest.raises(DatasetError, match=found) as error:
        read_all(root)
    assert str(Path(named).relative_to(root)) in str(error.value)
    assert any(word in str(error.value) for word in ("expected", "cannot be read", "git lfs pull"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", ["truncated", "without data", "of objects", "of another shape"])
def test_damage_to_a_sweep_shows_in_its_header(root: Path, case: str):
    damage, _ = DAMAGES[f"sweep {case}"]
    named = damage(root)
    with pytest.raises(DatasetError, match="is not a LiDAR sweep") as error:
        DdadDataset(root).lidar_capacity("train")
    assert named in str(error.value)


def test_the_undamaged_dataset_reads(root: Path):
    read_all(root)


def test_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(DatasetError, match="no such folder; expected the folder that holds"):
        DdadDataset(tmp_path / "nowhere")


def test_a_folder_without_a_dataset(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"holds no ddad\.json"):
        DdadDataset(tmp_path)


def test_a_folder_too_high_names_the_right_one(root: Path):
    with pytest.raises(DatasetError, match=f"use {root}"):
        DdadDataset(root.parent)


def test_a_dataset_without_calibrations(root: Path):
    for calibration in root.glob("*/calibration/*.json"):
        calibration.unlink()
    with pytest.raises(DatasetError, match="none of its scenes has a camera"):
        DdadDataset(root)


def test_an_unknown_split(root: Path):
    with pytest.raises(DatasetError, match="has no split 'test'; expected one of train, val"):
        DdadDataset(root).samples("test")


@pytest.mark.parametrize("ref", [SampleRef("000001", "000000", 0), SampleRef("000000", "000007", 0)])
def test_a_sample_that_the_split_lacks(root: Path, ref: SampleRef):
    with pytest.raises(DatasetError, match=f"no sample {ref.sample} in scene {ref.scene}"):
        DdadDataset(root).load("train", ref)
