"""A dataset of one's own: the same rig as the world wrote, in every form of point cloud; and what can be wrong."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement
from pypcd4 import Encoding, PointCloud

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.folder.dataset import FolderDataset
from stages.cache_teacher.datasets.folder.points import read_cloud
from stages.cache_teacher.datasets.projection import project, world_points
from stages.cache_teacher.datasets.street.drive import drive
from tests.folder_world import CAMERAS, RIGS, SCENES, WORLD, write_folder_world


def ply(path: Path, points: np.ndarray, *, text: bool = False) -> None:
    rows = np.zeros(len(points), [("intensity", "u1"), ("x", "f4"), ("y", "f4"), ("z", "f4")])
    rows["x"], rows["y"], rows["z"] = points[:, :3].T
    PlyData([PlyElement.describe(rows, "vertex")], text=text).write(str(path))


def pcd(path: Path, points: np.ndarray, encoding: Encoding) -> None:
    PointCloud.from_xyzi_points(points.astype(np.float32)).save(path, encoding=encoding)


FORMS: dict[str, tuple[str, Callable[[Path, np.ndarray], Any]]] = {
    "npz points": (".npz", lambda path, points: np.savez_compressed(path, points=points.astype(np.float64))),
    "npz data": (".npz", lambda path, points: np.savez(path, data=points[:, :3], other=np.zeros(3))),
    "pcd binary": (".pcd", lambda path, points: pcd(path, points, Encoding.BINARY)),
    "pcd compressed": (".pcd", lambda path, points: pcd(path, points, Encoding.BINARY_COMPRESSED)),
    "ply binary": (".ply", ply),
    "ply text": (".ply", lambda path, points: ply(path, points, text=True)),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_world(tmp_path_factory.mktemp("folder") / "world")


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    return shutil.copytree(world, tmp_path / "world")


def test_a_rig_is_what_the_world_wrote(world: Path):
    dataset = FolderDataset(world)
    assert dataset.cameras == CAMERAS
    assert len(dataset.adjacent_pairs) == 6
    assert [(s.scene, s.sample) for s in dataset.samples("val")] == [("wednesday", f"{i:03d}") for i in range(RIGS)]
    for ref, written in zip(dataset.samples("val"), drive(SCENES["wednesday"][1], WORLD, RIGS), strict=True):
        rig = dataset.load("val", ref)
        assert rig.timestamp == written.lidar_time_us
        np.testing.assert_allclose(rig.world_from_camera, written.world_from_camera, atol=1e-12)
        np.testing.assert_allclose(rig.rig_from_camera, written.rig_from_camera)
        world_m = world_points(written.points[:, :3], written.world_from_lidar)
        for view, points in enumerate(rig.lidar):
            camera_from_world = np.linalg.inv(written.world_from_camera[view])
            expected = project(
                world_m, camera_from_world, written.intrinsics_px[view].astype(np.float32), (WORLD.height, WORLD.width)
            )
            np.testing.assert_array_equal(points.uv_px, expected.uv_px)
            np.testing.assert_allclose(points.depth_m, expected.depth_m, rtol=1e-5)
            seen = written.depth_m[view][points.uv_px[:, 1], points.uv_px[:, 0]]
            known = np.isfinite(seen)
            assert np.median(np.abs(points.depth_m[known] / seen[known] - 1)) < 0.02


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_point_cloud_gives_the_same_points(world: Path, tmp_path: Path, form: str):
    other = write_folder_world(tmp_path / "world", *FORMS[form])
    for split in ("train", "val"):
        ours, theirs = FolderDataset(world), FolderDataset(other)
        for ref in ours.samples(split):
            for a, b in zip(ours.load(split, ref).lidar, theirs.load(split, ref).lidar, strict=True):
                np.testing.assert_array_equal(a.uv_px, b.uv_px)
                np.testing.assert_allclose(a.depth_m, b.depth_m, rtol=1e-6)
        assert ours.lidar_capacity(split) == theirs.lidar_capacity(split)


def test_a_copy_that_travelled_reads_the_same(world: Path):
    dataset = FolderDataset(world)
    ref = dataset.samples("train")[3]
    expected, found = dataset.load("train", ref), pickle.loads(pickle.dumps(dataset)).load("train", ref)
    np.testing.assert_array_equal(found.lidar[2].depth_m, expected.lidar[2].depth_m)


def test_conditions_are_those_of_the_scenes(world: Path):
    notes = FolderDataset(world).notes("train")
    assert notes.scene_conditions == {"monday": ("dusk",), "tuesday": ("dusk",)}


def test_poses_may_be_left_out(root: Path):
    edit(root / "wednesday/scene.json", lambda scene: [rig.pop("world_from_car") for rig in scene["rigs"]])
    edit(root / "wednesday/scene.json", lambda scene: [rig.pop("world_from_car_at_image") for rig in scene["rigs"]])
    dataset = FolderDataset(root)
    rig = dataset.load("val", dataset.samples("val")[0])
    np.testing.assert_array_equal(rig.world_from_rig, np.eye(4))
    np.testing.assert_array_equal(rig.world_from_camera, rig.rig_from_camera)


def test_without_lidar_none_is_needed(root: Path):
    shutil.rmtree(root / "wednesday/lidar")
    for path in root.rglob("*.json"):
        edit(path, lambda content: content.pop("lidar"))
    edit(root / "wednesday/scene.json", lambda scene: [rig.pop("points") for rig in scene["rigs"]])
    dataset = FolderDataset(root, lidar=False)
    assert [len(view.depth_m) for view in dataset.load("val", dataset.samples("val")[0]).lidar] == [0] * 6
    assert "pass --without-lidar" in refused(root)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def read_all(root: Path) -> None:
    dataset = FolderDataset(root)
    for split in dataset.splits:
        dataset.lidar_capacity(split)
        for ref in dataset.samples(split):
            dataset.load(split, ref)


def refused(root: Path) -> str:
    with pytest.raises(DatasetError) as raised:
        read_all(root)
    assert "\n" not in str(raised.value)
    assert str(root) in str(raised.value)
    return str(raised.value)


def front(content: dict[str, Any]) -> dict[str, Any]:
    camera: dict[str, Any] = content["cameras"]["front"]
    return camera


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("cameras"), "cameras is required"),
        (lambda d: d.update(camera=1), "unknown key 'camera'; did you mean 'cameras'?"),
        (lambda d: d.update(cameras={}), "cameras: Dictionary should have at least 1 item"),
        (
            lambda d: d.update(splits={"train": ["friday"]}),
            "names friday, where there is no scene.json; expected one of monday",
        ),
        (lambda d: d.update(splits={"train": []}), "splits.train: List should have at least 1 item"),
        (lambda d: d.update(splits={"train": ["monday"], "val": ["monday"]}), "name the scene monday twice"),
        (lambda d: front(d)["intrinsics"][0].__setitem__(1, 2.0), "focal lengths above 0"),
        (
            lambda d: front(d).update(intrinsics=[["1", 0, 4], [0, 1, 4], [0, 0, 1]]),
            "intrinsics.0.0: Input should be a valid number (got '1')",
        ),
        (
            lambda d: front(d).update(car_from_camera=np.transpose(front(d)["car_from_camera"]).tolist()),
            "it looks transposed",
        ),
        (lambda d: d.update(splits={"train": ["../mine"]}), "expected a path inside"),
        (lambda d: d["lidar"].update(bin_columns=10**30), "lidar.bin_columns: "),
        (
            lambda d: front(d).update(intrinsics=[[1, 0], [0, 1]]),
            "3 rows of 3 finite numbers (got [[1, 0], [0, 1]])",
        ),
        (lambda d: front(d).update(intrinsics=[[0, 0, 4], [0, 1, 4], [0, 0, 1]]), "focal lengths above 0"),
        (lambda d: front(d)["car_from_camera"].pop(), "expected 4 rows of 4 finite numbers"),
        (lambda d: front(d)["car_from_camera"][0].__setitem__(0, 7), "expected a rotation"),
        (
            lambda d: front(d).update(car_from_camera=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1]]),
            "found a reflection",
        ),
        (lambda d: front(d).update(k1=-0.3, p2=0.1), "says k1, p2; cameras are pinholes: undistort the images"),
        (lambda d: front(d).update(distortion=[0, 0, 0, 0, 0]), "says distortion; cameras are pinholes"),
        (lambda d: front(d).update(camera_model="fisheye"), "says camera_model; cameras are pinholes"),
        (lambda d: front(d).update(width=80), "has one of width and height"),
        (lambda d: front(d).update(width=80, height=0), "height: Input should be greater than 0"),
    ],
)
def test_what_is_wrong_with_the_dataset_file(root: Path, change: Callable[[Any], object], said: str):
    edit(root / "dataset.json", change)
    assert said in refused(root)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["rigs"][1].update(sample=s["rigs"][0]["sample"]), "gives two rigs the same sample name"),
        (lambda s: s["rigs"][0]["images"].update(top="x.jpg"), "rig 000 names the camera top"),
        (lambda s: s["cameras"].pop("back"), "has the cameras front, front_left, back_left, back_right, front_right"),
        (
            lambda s: s["rigs"][0].update(points="scene.json"),
            "is of no known form; expected a point cloud that ends in",
        ),
        (lambda s: s["lidar"].update(bin_columns=5), "lidar.bin_columns says how many"),
        (lambda s: s["rigs"][0].update(timestamp=10**30), "rigs.0.timestamp: "),
        (lambda s: s["rigs"][0].pop("world_from_car"), "world_from_car_at_image without world_from_car"),
        (lambda s: s["rigs"][0].update(world_from_cars=[[1]]), "did you mean 'world_from_car'"),
        (lambda s: front(s).update(intrinsics=[[0.7, 0, 0.5], [0, 0.7, 0.5], [0, 0, 1]]), "in pixels of these images"),
        (lambda s: front(s)["intrinsics"][0].__setitem__(2, 960.0), "cx 960 and cy"),
        (lambda s: s.update(rigs=[]), "rigs: List should have at least 1 item"),
        (lambda s: s["rigs"][0]["images"].update(front="/abs/front.jpg"), "expected a path inside"),
        (lambda s: s["rigs"][0]["images"].update(front="front\\000.jpg"), "with / between its parts"),
        (
            lambda s: s["rigs"][0].update(world_from_car=[[1]]),
            "rigs.0.world_from_car: expected 4 rows of 4",
        ),
    ],
)
def test_what_is_wrong_with_a_scene(root: Path, change: Callable[[Any], object], said: str):
    edit(root / "monday/scene.json", change)
    assert said in refused(root)


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        (lambda rig: rig["images"].pop("back"), "back"),
        (lambda rig: rig.update(points="lidar/gone.bin"), "points (no file monday/lidar/gone.bin)"),
        (lambda rig: rig.pop("points"), "points"),
    ],
)
def test_a_rig_without_an_image_or_the_points_is_incomplete(root: Path, change: Callable[[Any], object], lacks: str):
    rigs = len(FolderDataset(root).samples("train"))
    edit(root / "monday/scene.json", lambda scene: change(scene["rigs"][0]))
    dataset = FolderDataset(root)
    assert list(map(str, dataset.incomplete("train"))) == [f"monday sample 000 lacks {lacks}"]
    assert len(dataset.samples("train")) == rigs - 1


def test_what_notepad_writes_before_the_text_is_passed_over(root: Path):
    file = root / "dataset.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    read_all(root)


def test_an_image_of_another_size_is_the_odd_one(root: Path):
    odd = root / "monday/front/000.jpg"
    Image.new("RGB", (40, 24)).save(odd)
    assert f"{odd}: is 40×24 pixels; expected 80×48 as most images of its sample" in refused(root)


def test_an_image_of_16_bits_is_not_taken_for_white(root: Path):
    for camera in CAMERAS:
        Image.fromarray(np.full((48, 80), 40_000, np.uint16)).save(root / f"monday/{camera}/000.jpg", "PNG")
    assert "more than 8 bits a pixel (mode I;16)" in refused(root)


def test_a_change_of_the_description_is_noticed(root: Path):
    def digests() -> dict[str, object]:
        dataset = FolderDataset(root)
        return {split: dataset.notes(split).selection["description_sha256"] for split in dataset.splits}

    before = digests()
    edit(root / "wednesday/scene.json", lambda scene: scene["rigs"][0].update(timestamp=5))
    after = digests()
    assert after["train"] == before["train"]
    assert after["val"] != before["val"]
    edit(root / "dataset.json", lambda d: front(d)["car_from_camera"][2].__setitem__(3, 9.0))
    assert all(digests()[split] != after[split] for split in after)


@pytest.mark.parametrize("name", ["dataset.json", "monday/scene.json"])
@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"\xff"])
def test_damaged_descriptions(root: Path, name: str, content: bytes):
    (root / name).write_bytes(content)
    assert name in refused(root)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", ["empty", "half", "garbage"])
def test_damaged_point_clouds(tmp_path: Path, form: str, damage: str):
    ending, write = FORMS[form]
    path = tmp_path / f"cloud{ending}"
    write(path, np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32))
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "garbage": bytes(reversed(whole))}[damage])
    with pytest.raises(DatasetError, match=r"is not a point cloud as expected") as raised:
        read_cloud(path, 4)
    assert str(path) in str(raised.value)


def test_an_npz_without_points_says_what_it_has(tmp_path: Path):
    np.savez(tmp_path / "cloud.npz", xyz=np.zeros((3, 3)))
    with pytest.raises(DatasetError, match=r"it has the arrays xyz, none of points, data"):
        read_cloud(tmp_path / "cloud.npz", 4)


def test_an_npz_is_never_unpickled(tmp_path: Path):
    np.savez(tmp_path / "cloud.npz", points=np.array([{"x": 1}], object))
    with pytest.raises(DatasetError, match=r"is not a point cloud as expected"):
        read_cloud(tmp_path / "cloud.npz", 4)


def test_a_size_that_is_not_given_does_not_change_what_the_description_is_known_by(root: Path):
    """Caches that were made before a camera could have a size stay what they are."""
    camera = FolderDataset(root)._described.cameras["front"]
    assert set(camera.model_dump()) == {"intrinsics", "car_from_camera"}
    assert set(camera.model_copy(update={"width": 80, "height": 48}).model_dump()) > {"width", "height"}
