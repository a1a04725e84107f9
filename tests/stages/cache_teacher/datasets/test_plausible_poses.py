"""Cameras and cars that cannot be where a dataset says they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.folder.dataset import FolderDataset
from stages.cache_teacher.datasets.plausible_poses import require_cameras_apart, require_views_apart
from stages.cache_teacher.plan import plan
from tests.dgp_world import write_dgp_world
from tests.folder_world import CAMERAS, write_folder_world

Scene = dict[str, Any]
Change = Callable[[Scene], object]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_world(tmp_path_factory.mktemp("folder") / "world")


@pytest.fixture(scope="module")
def ddad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("dgp") / "world", samples=3, size_hw=(24, 40))


def changed(world: Path, tmp_path: Path, pattern: str, change: Change) -> Path:
    root = shutil.copytree(world, tmp_path / "world")
    for path in root.glob(pattern):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
    return root


def said(kind: str, root: Path, **settings: Any) -> str:
    made = plan(CacheTeacherConfig(dataset=kind, root=root, cache="none", teacher={"id": "tiny"}, **settings))
    return "\n".join(made.describe())


def pose_of_camera_05_for_06(calibration: Scene) -> None:
    names = calibration["names"]
    calibration["extrinsics"][names.index("CAMERA_06")] = calibration["extrinsics"][names.index("CAMERA_05")]


def test_one_camera_pose_for_two_cameras_in_dgp_is_refused(ddad: Path, tmp_path: Path) -> None:
    root = changed(ddad, tmp_path, "000001/calibration/*.json", pose_of_camera_05_for_06)
    root = changed(root, tmp_path / "all", "*/calibration/*.json", pose_of_camera_05_for_06)
    with pytest.raises(
        DatasetError, match=r"\.json: CAMERA_05 and CAMERA_06 are at the same place on the car and look"
    ):
        said("ddad", root)


@pytest.mark.parametrize("scene", ["dataset.json", "tuesday/scene.json"])
def test_one_camera_pose_for_two_cameras_of_ones_own_is_refused(mine: Path, tmp_path: Path, scene: str) -> None:
    def copied(described: Scene) -> None:
        described["cameras"]["back_left"]["car_from_camera"] = described["cameras"]["back"]["car_from_camera"]

    if scene == "dataset.json":
        mine = changed(mine, tmp_path / "before", "*/scene.json", lambda content: content.pop("cameras"))
    with pytest.raises(DatasetError, match=r"back(_left)? and back(_left)? are at the same place on the car"):
        said("folder", changed(mine, tmp_path, scene, copied))


def require_apart(*poses: np.ndarray, lenses: tuple[tuple[float, float, float], ...] = ()) -> list[str]:
    """Of cameras with so many pixels of fx, fy and cx."""
    intrinsics_px = [np.array([[fx, 0, cx], [0, fy, 300], [0, 0, 1]], np.float32) for fx, fy, cx in lenses]
    cameras = {f"camera {i}": pose for i, pose in enumerate(poses)}
    return require_cameras_apart(cameras, intrinsics_px or [np.eye(3, dtype=np.float32)] * len(poses), "here")


def at(x: float, *, turned: bool = False) -> np.ndarray:
    pose = np.diag([-1.0, -1.0, 1.0, 1.0]) if turned else np.eye(4)
    pose[0, 3] = x
    return pose


def test_cameras_of_one_head_that_look_different_ways_are_taken() -> None:
    assert require_apart(at(1), at(1, turned=True), at(1.01), at(18)) == []


@pytest.mark.parametrize(
    "other",
    [(1500, 1500, 400), (150, 150, 400), (500, 500, 300), (500, 700, 400)],
    ids=["tele", "wide", "crop", "tall"],
)
def test_two_lenses_at_one_pose_are_doubted(other: tuple[float, float, float]) -> None:
    (doubt,) = require_apart(at(1), at(2), at(1), lenses=((500, 500, 400), (500, 500, 400), other))
    assert "camera 0 and camera 2 are at the same place on the car and look the same way, with other intr" in doubt


def test_two_cameras_of_one_make_at_one_pose_are_refused() -> None:
    with pytest.raises(DatasetError, match="camera 0 and camera 2 are at the same place on the car"):
        require_apart(at(1), at(2), at(1), lenses=((500, 500, 400), (1500, 1500, 400), (504, 505, 409)))


def test_two_lenses_at_one_pose_are_told_once_though_each_scene_has_its_own_calibration(
    mine: Path, tmp_path: Path
) -> None:
    def tele(described: Scene) -> None:
        wide = described["cameras"]["back"]
        (fx, _, cx), (_, fy, cy), last = wide["intrinsics"]
        described["cameras"]["back_left"] |= {"car_from_camera": wide["car_from_camera"]}
        described["cameras"]["back_left"] |= {"intrinsics": [[2 * fx, 0, cx], [0, 2 * fy, cy], last]}
        for rig in described.get("rigs", ()):
            rig["world_from_car_at_image"]["back_left"] = rig["world_from_car_at_image"]["back"]

    plan_of_train = said("folder", changed(mine, tmp_path, "**/*.json", tele)).split("val  ")[0]
    assert plan_of_train.count("are at the same place on the car") == 1


@pytest.mark.parametrize("unit", [100, 1000])
def test_cameras_in_other_units_are_refused(unit: float) -> None:
    with pytest.raises(DatasetError, match=r"camera 0 and camera 1 are .* m apart on the car; .* in metres\?"):
        require_apart(at(0), at(2.5 * unit, turned=True))


def test_one_pose_in_the_world_for_two_cameras_is_refused(ddad: Path, tmp_path: Path) -> None:
    def copied(scene: Scene) -> None:
        front = None
        for datum in scene["data"]:
            if datum["id"]["name"] in ("CAMERA_05", "CAMERA_07"):
                front = front or datum["datum"]["image"]["pose"]
                datum["datum"]["image"]["pose"] = front

    with pytest.raises(DatasetError, match="000000 sample 000000: CAMERA_05 and CAMERA_07 have the same pose"):
        said("ddad", changed(ddad, tmp_path, "*/scene_*.json", copied), lidar=False)


def test_one_image_for_two_cameras_is_refused_but_for_a_covered_one(mine: Path) -> None:
    dataset = FolderDataset(mine)
    rig = dataset.load("train", dataset.samples("train")[0])
    assert require_views_apart([rig], CAMERAS) == []
    front = replace(rig, image_files=(rig.image_files[1], *rig.image_files[1:]))
    with pytest.raises(DatasetError, match="sample 000: front and front_left have the same image, byte for byte"):
        require_views_apart([rig, front], CAMERAS)
    black = replace(front, images=tuple(np.zeros_like(image) for image in rig.images))
    (doubt,) = require_views_apart([black], CAMERAS)
    assert doubt == f"images of {', '.join(CAMERAS)} show nothing, in 1 rig looked at: does the camera work?"


def test_a_camera_that_shows_nothing_in_any_rig_is_doubted(mine: Path) -> None:
    dataset = FolderDataset(mine)
    rig = dataset.load("train", dataset.samples("train")[0])
    noise = np.random.default_rng(0).integers(0, 8, rig.images[0].shape).astype(np.uint8)
    noise[: noise.shape[0] // 9, : noise.shape[1] // 9] = 255  # the time
    covered = replace(rig, images=(noise, *rig.images[1:]))
    (doubt,) = require_views_apart([covered, covered], CAMERAS)
    assert doubt == f"images of {CAMERAS[0]} show nothing, in 2 rigs looked at: does the camera work?"
    assert require_views_apart([covered, rig], CAMERAS) == [], "a lamp that went on"


def in_units(factor: float) -> Change:
    """Translations of all poses in the world."""

    def change(scene: Scene) -> None:
        for rig in scene["rigs"]:
            for pose in (rig["world_from_car"], *rig["world_from_car_at_image"].values()):
                for row in pose[:3]:
                    row[3] *= factor

    return change


@pytest.mark.parametrize("unit", [100, 1000])
def test_a_car_in_other_units_is_refused(mine: Path, tmp_path: Path, unit: float) -> None:
    def apart(scene: Scene) -> None:
        scene["rigs"][1]["world_from_car"][0][3] = scene["rigs"][0]["world_from_car"][0][3] + 5
        scene["rigs"][1]["world_from_car_at_image"] = {}
        scene["rigs"][0]["world_from_car_at_image"] = {}
        scene["rigs"][1]["timestamp"] = scene["rigs"][0]["timestamp"] + 500_000
        in_units(unit)(scene)

    with pytest.raises(DatasetError, match=r"moves from rig to rig are faster than 150 m/s, .*; expected world_from"):
        said("folder", changed(mine, tmp_path, "*/scene.json", apart), lidar=False)


def test_a_dgp_car_in_millimetres_is_refused(ddad: Path, tmp_path: Path) -> None:
    def millimetres(scene: Scene) -> None:
        for datum in scene["data"]:
            (sensor,) = datum["datum"].values()
            for axis in "xyz":
                sensor["pose"]["translation"][axis] *= 1000

    with pytest.raises(DatasetError, match=r"looked from places .* m apart; .* are poses in metres\?"):
        said("ddad", changed(ddad, tmp_path, "*/scene_*.json", millimetres), lidar=False)


def test_one_jump_is_doubted(ddad: Path, tmp_path: Path) -> None:
    def jump(scene: Scene) -> None:
        for datum in scene["data"][-7:]:
            (sensor,) = datum["datum"].values()
            sensor["pose"]["translation"]["x"] += 800

    lines = said("ddad", changed(ddad, tmp_path, "000000/scene_*.json", jump), lidar=False)
    assert "doubtful: 1 of 2 moves from rig to rig is faster than 150 m/s, such as 800" in lines
    assert "m in 0.1 s to 000000 sample 000002: are poses in metres, and timestamps in microseconds?" in lines


def test_a_jump_without_times_is_doubted(mine: Path, tmp_path: Path) -> None:
    def jump(scene: Scene) -> None:
        in_units(1000)(scene)
        for rig in scene["rigs"]:
            rig["timestamp"] = 0
            rig["world_from_car_at_image"] = {}

    assert "are longer than 300 m" in said("folder", changed(mine, tmp_path, "*/scene.json", jump), lidar=False)
