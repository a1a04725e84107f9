"""What was rendered is what DDAD's reader reads."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.datasets.ego_masks import load_ego_masks
from stages.cache_teacher.datasets.street import StreetConfig, StreetRig, drive
from stages.cache_teacher.datasets.street.write import depth_to_store, write_dataset_file, write_scene
from tests.stages.cache_teacher.datasets.test_ddad_parity import installed_toolkit

TOWN = 3
CONFIG = StreetConfig(height=96, width=160)


@pytest.fixture(scope="module")
def rendered() -> list[StreetRig]:
    return list(drive(TOWN, CONFIG, 2))


@pytest.fixture(scope="module")
def root(rendered: list[StreetRig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene, in both splits."""
    root = tmp_path_factory.mktemp("street") / "street"
    write_scene(root / "000003", "000003", rendered, lidar=True)
    write_dataset_file(root, "1", {"train": ["000003"], "val": ["000003"]})
    return root


@pytest.fixture(scope="module")
def read(root: Path) -> list[RigFrames]:
    dataset = DdadDataset(root)
    return [dataset.load("train", ref) for ref in dataset.samples("train")]


def pairs(rendered: list[StreetRig], read: list[RigFrames]) -> Iterator[tuple[StreetRig, RigFrames]]:
    yield from zip(rendered, read, strict=True)


def test_the_dataset_is_one_of_ddads(root: Path, rendered: list[StreetRig]) -> None:
    dataset = DdadDataset(root)
    assert (
        dataset.cameras
        == rendered[0].cameras
        == ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
    )
    assert dataset.adjacent_pairs == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0))
    assert [ref.timestamp for ref in dataset.samples("train")] == [rig.lidar_time_us for rig in rendered]
    assert dataset.without_dense_depth("train") is None


def test_poses_and_intrinsics_come_back(rendered: list[StreetRig], read: list[RigFrames]) -> None:
    for before, after in pairs(rendered, read):
        np.testing.assert_allclose(after.intrinsics_px, before.intrinsics_px, rtol=1e-6)
        np.testing.assert_allclose(after.rig_from_camera, before.rig_from_camera, atol=1e-6)
        np.testing.assert_allclose(after.world_from_camera, before.world_from_camera, atol=1e-4)
        world_from_rig = before.world_from_lidar @ np.linalg.inv(before.rig_from_lidar)
        np.testing.assert_allclose(after.world_from_rig, world_from_rig, atol=1e-4)


def test_images_come_back_but_for_what_jpeg_costs(rendered: list[StreetRig], read: list[RigFrames]) -> None:
    for before, after in pairs(rendered, read):
        assert np.abs(np.stack(after.images).astype(float) - before.images).mean() < 3


def test_dense_depth_comes_back(rendered: list[StreetRig], read: list[RigFrames]) -> None:
    for before, after in pairs(rendered, read):
        assert after.dense_depth_m is not None
        known = np.isfinite(before.depth_m)
        np.testing.assert_allclose(after.dense_depth_m[known], before.depth_m[known], rtol=2**-13)
        assert (after.dense_depth_m[~known] == 0).all(), "neither the sky nor the own car has depth"
        assert before.own_car.any()


def test_lidar_agrees_with_dense_depth(read: list[RigFrames]) -> None:
    for rig in read:
        assert rig.dense_depth_m is not None
        off = []
        for points, dense_m in zip(rig.lidar, rig.dense_depth_m, strict=True):
            u, v = points.uv_px.T
            there = away_from_edges(dense_m)[v, u]
            off.append((points.depth_m - dense_m[v, u])[there] / dense_m[v, u][there])
            assert len(off[-1]) > 100
            assert abs(np.median(off[-1])) < 0.002, "no bias, as a shift by half a pixel would be on the road"
        assert np.median(np.abs(np.concatenate(off))) < 0.005, "of which the LiDAR's noise is the larger part"


def away_from_edges(depth_m: np.ndarray) -> np.ndarray:
    """Pixels whose eight neighbours are known, and at most 5 % nearer or farther."""
    around = np.stack([np.roll(depth_m, (dv, du), (0, 1)) for dv in (-1, 0, 1) for du in (-1, 0, 1)])
    smooth = (around > 0).all(axis=0) & (np.ptp(around, axis=0) < 0.05 * depth_m)
    smooth[[0, -1]] = smooth[:, [0, -1]] = False
    return smooth


def test_ego_masks_show_the_own_car(root: Path, rendered: list[StreetRig]) -> None:
    masks = load_ego_masks(root / "masks", rendered[0].cameras, (CONFIG.height, CONFIG.width))
    for view, index in enumerate(masks.index("000003")):
        np.testing.assert_array_equal(masks.masks[index] == 0, rendered[0].own_car[view])
    for rig in rendered:
        np.testing.assert_array_equal(rig.own_car, rendered[0].own_car, "one mask serves a whole scene")


def test_cars_that_look_the_same_share_a_group(rendered: list[StreetRig], tmp_path: Path) -> None:
    other = dataclasses.replace(rendered[0], own_car=~rendered[0].own_car)
    for name, rig in (("a", rendered[0]), ("b", other), ("c", rendered[0])):
        write_scene(tmp_path / name, name, [rig], lidar=True)
    write_dataset_file(tmp_path, "1", {"train": ["a", "b"], "val": ["c"]})
    assert json.loads((tmp_path / "masks/mask_index.json").read_text()) == {"a": "0", "b": "1", "c": "0"}
    assert sorted(path.name for path in (tmp_path / "masks").iterdir() if path.is_dir()) == ["0", "1"]


def test_without_lidar_a_sweep_still_says_where_the_car_was(rendered: list[StreetRig], tmp_path: Path) -> None:
    write_scene(tmp_path / "a", "a", rendered, lidar=False)
    write_dataset_file(tmp_path, "1", {"train": ["a"], "val": ["a"]})
    dataset = DdadDataset(tmp_path)
    rig = dataset.load("train", dataset.samples("train")[0])
    assert [len(points.depth_m) for points in rig.lidar] == [0] * 6
    assert np.linalg.norm(rig.world_from_rig[:3, 3] - rendered[0].world_from_lidar[:3, 3]) < 3


def test_datums_are_linked_and_named_as_in_dgp(root: Path) -> None:
    (path,) = root.glob("000003/scene_*.json")
    scene = json.loads(path.read_text())
    by_key = {datum["key"]: datum for datum in scene["data"]}
    assert len(by_key) == 2 * 7
    for first, second in zip(*(sample["datum_keys"] for sample in scene["samples"]), strict=True):
        assert by_key[first]["next_key"] == second
        assert by_key[second]["prev_key"] == first
        assert by_key[first]["id"]["name"] == by_key[second]["id"]["name"]
    image = next(datum["datum"]["image"] for datum in scene["data"] if "image" in datum["datum"])
    assert image["annotations"] == {"6": image["filename"].replace("rgb", "depth").replace("jpg", "npz")}


def test_arrays_are_plain_and_bear_no_time(root: Path) -> None:
    for path in root.rglob("*.npz"):
        with zipfile.ZipFile(path) as archive:
            assert [entry.date_time for entry in archive.infolist()] == [(1980, 1, 1, 0, 0, 0)]
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays.files == ["data"]
            assert arrays["data"].dtype == np.float32


def test_rounding_a_depth_is_to_the_nearest() -> None:
    depth_m = np.random.default_rng(0).uniform(0.5, 400, (50, 60)).astype(np.float32)
    stored = depth_to_store(depth_m)
    np.testing.assert_allclose(stored, depth_m, rtol=2**-13)
    assert abs(np.mean(stored / depth_m) - 1) < 1e-5, "no bias"
    np.testing.assert_array_equal(depth_to_store(stored), stored)
    nothing = np.array([[np.nan, np.inf, 0.0]], np.float32)
    np.testing.assert_array_equal(depth_to_store(nothing), np.zeros((1, 3), np.float32))


@pytest.mark.filterwarnings("ignore")  # the toolkit is older than what it imports
def test_the_installed_toolkit_reads_the_same_depth(root: Path, read: list[RigFrames]) -> None:
    toolkit = installed_toolkit()
    theirs = toolkit.SynchronizedSceneDataset(
        str(root / "ddad.json"), split="train", datum_names=[*DdadDataset(root).cameras, "LIDAR"],
        requested_annotations=("depth",),
    )  # fmt: skip
    for index, rig in enumerate(read):
        datums = {datum["datum_name"]: datum for datum in theirs[index][0]}
        assert rig.dense_depth_m is not None
        for camera, depth_m in zip(DdadDataset(root).cameras, rig.dense_depth_m, strict=True):
            np.testing.assert_array_equal(datums[camera]["depth"].depth, depth_m)


def test_a_sample_without_one_depth_map_has_no_dense_depth(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "street")
    (path,) = copy.glob("000003/scene_*.json")
    scene = json.loads(path.read_text())
    del scene["data"][-1]["datum"]["image"]["annotations"]["6"]
    path.write_text(json.dumps(scene))
    dataset = DdadDataset(copy)
    first, second = dataset.samples("train")
    assert dataset.without_dense_depth("train") == second
    assert dataset.load("train", first).dense_depth_m is not None
    assert dataset.load("train", second).dense_depth_m is None


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (np.ones((3, 4), np.float32), r"`data` is float32 of shape \(3, 4\), its image \(96, 160\)"),
        (np.ones((96, 160), np.int32), "`data` is int32"),
        (np.full((96, 160), None), "Object arrays cannot be loaded"),
    ],
)
def test_a_depth_map_that_is_none_is_named(root: Path, tmp_path: Path, data: np.ndarray, found: str) -> None:
    copy = shutil.copytree(root, tmp_path / "street")
    path = min((copy / "000003/depth/CAMERA_07").iterdir())
    np.savez_compressed(path, data=data)
    dataset = DdadDataset(copy)
    with pytest.raises(DatasetError, match=rf"CAMERA_07/{path.name}: .*({found})"):
        dataset.load("train", dataset.samples("train")[0])
