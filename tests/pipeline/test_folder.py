"""One's own dataset from the command line: what a person sees who mends its description."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_schema import Cache
from tests.folder_world import SCENES, write_folder_world
from tests.pipeline.conftest import SMALL, Cli, one_line


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_world(tmp_path_factory.mktemp("folder") / "world")


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "world")


@pytest.fixture
def cached(cli: Cli, teacher: Path, root: Path) -> Callable[..., Any]:
    """`fsmde cache-teacher` on the world."""
    options = ("--dataset", "folder", "--root", root, "--teacher", teacher, "--cache", root.parent / "zarr", *SMALL)
    return lambda *more: cli("cache-teacher", *options, *more)


def edit_scenes(root: Path, change: Callable[[Any], object]) -> None:
    for scene in SCENES:
        file = root / scene / "scene.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))


def raise_cameras(scene: Any) -> None:
    for camera in scene["cameras"].values():
        camera["car_from_camera"][2][3] += 0.3


def test_a_mended_description_is_not_taken_for_done(cached: Callable[..., Any], root: Path) -> None:
    assert "Next: fsmde train --cache" in cached().output
    assert "nothing to do" in cached().output
    before = Cache(root.parent / "zarr").split("val")[0].rig_from_camera
    edit_scenes(root, raise_cameras)
    message = one_line(cached())
    assert "description_sha256" in message
    assert "--overwrite" in message
    assert cached("--overwrite").exit_code == 0
    after = Cache(root.parent / "zarr").split("val")[0].rig_from_camera
    np.testing.assert_allclose(after[:, 2, 3] - before[:, 2, 3], 0.3)


def test_a_lidar_high_above_the_car_is_refused_before_any_work(cached: Callable[..., Any], root: Path) -> None:
    def millimetres(scene: Any) -> None:
        for row in scene["lidar"]["car_from_lidar"][:3]:
            row[3] *= 1000

    edit_scenes(root, millimetres)
    message = one_line(cached())
    assert "m under the ground: are points in metres, and placements right?" in message
    assert not (root.parent / "zarr").exists()
    assert cached("--without-lidar").exit_code == 0


def test_a_bin_of_other_columns_is_told_by_what_it_could_be(cached: Callable[..., Any], root: Path) -> None:
    for path in root.glob("*/lidar/*.bin"):
        points = np.frombuffer(path.read_bytes(), "<f4").reshape(-1, 4)
        ring = np.arange(len(points), dtype="<f4")[:, None] % 16
        path.write_bytes(np.hstack([points, ring])[: len(points) // 4 * 4].tobytes())
    message = one_line(cached())
    assert "read as 5 columns of float32 it looks like a sweep" in message
    columns = {"bin_columns": 5}
    edit_scenes(root, lambda scene: scene["lidar"].update(columns))
    assert "doubtful" not in cached("--dry-run").output


def test_resized_images_are_doubted_or_refused(cached: Callable[..., Any], root: Path) -> None:
    for path in root.glob("tuesday/*/*.jpg"):
        with Image.open(path) as image:
            image.resize((60, 36)).save(path)
    assert "principal point far from the middle: front, " in cached("--dry-run").output
    message = one_line(cached())
    assert "2 samples cannot be read: tuesday sample 000: its images are 60×36 pixels; expected 80×48 as in" in message

    def say_size(scene: Any) -> None:
        for camera in scene["cameras"].values():
            camera |= {"width": 80, "height": 48}

    edit_scenes(root, say_size)
    message = one_line(cached("--overwrite"))
    assert "is 60×36 pixels; expected 80×48, as tuesday/scene.json says of front" in message


def test_a_camera_that_sees_no_point_is_named(cached: Callable[..., Any], root: Path) -> None:
    def look_up(scene: Any) -> None:
        scene["cameras"]["back"]["car_from_camera"] = [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1.6], [0, 0, 0, 1]]

    assert "none lies in" not in cached("--dry-run").output
    edit_scenes(root, look_up)
    plan = cached("--dry-run").output
    assert "none lies in back: are intrinsics" in plan


@pytest.mark.parametrize(
    ("splits", "command"),
    [
        ({"val": ["monday"]}, "fsmde evaluate --cache {cache} --run RUN"),
        ({"mine": ["monday"]}, "fsmde train --cache {cache} --run runs/first --split mine"),
    ],
)
def test_what_to_do_next_fits_the_splits(
    cached: Callable[..., Any], root: Path, splits: dict[str, list[str]], command: str
) -> None:
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(content | {"splits": splits}))
    assert f"Next: {command.format(cache=root.parent / 'zarr')}\n" in cached().output


def test_what_to_do_next_writes_over_no_run(
    cached: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for taken, proposed in (("runs", "runs/first"), ("runs/first", "runs/first-2"), ("runs/first-2", "runs/first-3")):
        (tmp_path / taken).mkdir()
        assert f"--run {proposed}\n" in cached().output
