"""What stage 1's plan says of cameras and LiDAR before any work, on small datasets with one mistake each."""

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
from stages.cache_teacher import survey
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.plan import CachePlan, plan
from tests.dgp_world import write_dgp_world

SIZE_HW = (96, 160)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("dgp") / "whole", samples=2, size_hw=SIZE_HW)


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "world")


def planned(root: Path, **settings: Any) -> CachePlan:
    return plan(CacheTeacherConfig(dataset="ddad", root=root, cache="none", teacher={"id": "tiny"}, **settings))


def lines(root: Path, **settings: Any) -> str:
    return "\n".join(planned(root, **settings).describe())


def edit(root: Path, pattern: str, change: Callable[[Any], object]) -> None:
    for path in root.glob(pattern):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def change_sweeps(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in root.glob("*/point_cloud/LIDAR/*.npz"):
        np.savez(path, data=change(np.load(path)["data"]).astype(np.float32))


def resize_images(root: Path, height: float, width: float, scene: str = "*", camera: str = "*") -> None:
    for path in root.glob(f"{scene}/rgb/{camera}/*.jpg"):
        with Image.open(path) as image:
            resized = image.resize((round(image.width * width), round(image.height * height)))
        resized.save(path)


def say_sizes(root: Path, height: int, width: int) -> None:
    """What scenes say of their images; 0, which protobuf leaves out, says nothing."""
    for path in root.glob("*/scene_*.json"):
        content = json.loads(path.read_text())
        for datum in content["data"]:
            if "image" in datum["datum"]:
                datum["datum"]["image"] |= {"height": height, "width": width}
        path.write_text(json.dumps(content))


def scaled(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: points * [factor, factor, factor, 1]


def test_a_sound_dataset_is_not_doubted(root: Path):
    said = lines(root)
    assert "LiDAR depth in 2 rigs, median (and share of 0.1 to 200 m): CAMERA_01 " in said
    assert "(100%)" in said
    assert "doubtful" not in said


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (scaled(1000), r"half of its points are farther than 1e\+04|not in metres"),
        (scaled(100), "not in metres"),
        (scaled(0.001), "not in metres"),
        (lambda points: points[:, [3, 0, 1, 2]], "deep under the car"),
        (lambda points: points[:, [0, 2, 1, 3]], "deep under the car"),
        (
            lambda points: points.astype(np.float64).view(np.float32)[:, :4],
            "float64 is read as float32",
        ),
    ],
    ids=["millimetres", "centimetres", "kilometres", "intensity first", "axes swapped", "float64"],
)
def test_points_that_cannot_be_metres_are_refused(root: Path, change: Callable[[np.ndarray], np.ndarray], found: str):
    change_sweeps(root, change)
    with pytest.raises(DatasetError, match=found) as error:
        planned(root)
    assert ".npz: " in str(error.value)
    assert "--without-lidar" in str(error.value)
    planned(root, lidar=False)


def test_one_sweep_of_several_that_a_bridge_may_explain_is_doubted(root: Path):
    first, *others = sorted(root.glob("*/point_cloud/LIDAR/*.npz"))
    assert others
    points = np.load(first)["data"]
    np.savez(first, data=points[:, [0, 2, 1, 3]])
    said = lines(root)
    assert "doubtful: 1 of 2 sweeps looked at" in said
    assert "deep under the car" in said


def test_feet_are_doubted(root: Path):
    change_sweeps(root, scaled(1 / 0.3048))
    assert "doubtful: " in lines(root)
    assert "above the ground: are points in metres" in lines(root)


def test_a_lidar_that_hangs_upside_down_is_doubted(root: Path):
    change_sweeps(root, lambda points: points * [1, -1, -1, 1])
    assert "LiDAR points are farther the lower they lie" in lines(root)


def test_a_low_ceiling_is_not_taken_for_the_ground(root: Path):
    def room(points: np.ndarray) -> np.ndarray:
        """Only what is above the LiDAR, and that no higher than a ceiling: the lower it lies, the farther it is."""
        above = points[points[:, 2] > 0.2]
        return above * [1, 1, 0, 1] + [0, 0, 0.7, 0]

    change_sweeps(root, room)
    assert "upside down" not in lines(root)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda points: points[:0], "no point, like each of 2 sweeps of split train looked at"),
        (lambda points: points * np.nan, "no point that is finite and away from the origin, like each of 2 sweeps of"),
        (lambda points: points * 0, "no point that is finite and away from the origin, like each of 2 sweeps of"),
    ],
    ids=["empty", "not finite", "at the origin"],
)
def test_sweeps_without_a_point_are_named(root: Path, change: Callable[[np.ndarray], np.ndarray], found: str):
    change_sweeps(root, change)
    with pytest.raises(DatasetError, match=rf"\.npz: holds {found}.*--without-lidar"):
        planned(root)


def test_points_that_no_camera_sees_are_refused(root: Path):
    """All on the road beside the car, below the images."""
    angle = np.linspace(0, 2 * np.pi, 400)

    def beside(points: np.ndarray) -> np.ndarray:
        low = np.quantile(points[:, 2], 0.05)
        return np.column_stack([0.7 * np.cos(angle), 0.7 * np.sin(angle), np.full(400, low), np.zeros(400)])

    change_sweeps(root, beside)
    with pytest.raises(
        DatasetError, match=r"no LiDAR point of 000000 sample 000000, .* lies in an image; expected some"
    ):
        planned(root)


def test_points_all_out_of_range_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(survey, "far_m", lambda dataset: 0.5)
    with pytest.raises(DatasetError, match=r"no LiDAR point of 000000 sample 000000, .* is 0\.1 to 0\.5 m away"):
        planned(root)


@pytest.mark.parametrize(("height", "width"), [(0.5, 0.5), (2, 2), (1, 0.5), (0.5, 1), (0.9, 0.9), (1, 1.01)])
def test_resized_images_are_refused_where_the_scene_says_their_size(root: Path, height: float, width: float):
    resize_images(root, height, width)
    with pytest.raises(DatasetError, match=r"\.jpg: is \d+×\d+ pixels; expected 160×96, as scene_\w+\.json says"):
        planned(root)


@pytest.mark.parametrize(("height", "width"), [(0.5, 0.5), (2, 2), (1, 0.5), (0.5, 1), (1.5, 1.5), (0.8, 0.8)])
def test_resized_images_are_doubted_where_nothing_says_their_size(root: Path, height: float, width: float):
    say_sizes(root, 0, 0)
    assert "doubtful" not in lines(root)
    resize_images(root, height, width)
    try:
        said = lines(root)
    except DatasetError as error:
        said = str(error)
    assert "were images resized or cropped" in said or "expected them in pixels of these images" in said


def test_images_that_one_scene_resized_are_refused_when_they_are_read(root: Path):
    made = planned(root)
    resize_images(root, 0.5, 0.5, scene="000001")
    with pytest.raises(DatasetError, match=r"is 80×48 pixels; expected 160×96, as scene"):
        made.dataset.load("val", made.dataset.samples("val")[0])


def test_calibrations_of_all_scenes_are_looked_at(whole: Path, tmp_path: Path):
    root = write_dgp_world(tmp_path / "three", scenes=3, samples=1, size_hw=(24, 40))
    edit(root, "000001/calibration/*.json", lambda c: c["intrinsics"][2].update(cx=c["intrinsics"][2]["cx"] * 1.5))
    said = lines(root)
    assert "principal point far from the middle: CAMERA_05 (0.75 of the width and 0.50 of the height in " in said
    edit(root, "000001/calibration/*.json", lambda c: c["intrinsics"][2].update(cx=400))
    with pytest.raises(DatasetError, match=r"the intrinsics of CAMERA_05 have .* for images of 40×24 pixels"):
        planned(root)


def test_what_a_calibration_says_of_a_lens_is_said_to_be_ignored(root: Path):
    def lens(calibration: Any) -> None:
        calibration["intrinsics"][1].update(k1=-0.3, k2=0.1, p1=0)
        calibration["intrinsics"][2].update(fov=1.2)
        calibration["intrinsics"][3].update(skew=0.4)

    edit(root, "*/calibration/*.json", lens)
    assert "doubtful: ignored, for cameras are taken as pinholes: " in lines(root)
    for said in ("CAMERA_01 (k1, k2)", "CAMERA_05 (fov)", "CAMERA_07 (skew)"):
        assert said in lines(root)
