"""A copied rig is found among many whose files have one size, and few of them are decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.cache_teacher import copied_rigs
from stages.cache_teacher.copied_rigs import CROWD, PlannedRig, find_copy
from stages.cache_teacher.datasets.base import SampleRef

CAMERAS = ("front", "left", "right")


def uncompressed(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path.with_suffix(".png"), compress_level=0)


def drives(folder: Path, rigs: int, cameras: tuple[str, ...] = CAMERAS) -> list[PlannedRig]:
    """Two scenes of noise, in files of one size."""
    random = np.random.default_rng(0)
    planned = []
    for split, scene in (("train", "monday"), ("val", "friday")):
        for number in range(rigs):
            paths = [folder / scene / camera / f"{number:03d}.png" for camera in cameras]
            for path in paths:
                uncompressed(path, random.integers(0, 256, (6, 8, 3), np.uint8))
            sizes = tuple(path.stat().st_size for path in paths)
            ref = SampleRef(scene, f"{number:03d}", number)
            planned.append(PlannedRig(split, ref, tuple(map(str, paths)), sizes))
    return planned


def copy(one: PlannedRig, other: PlannedRig, cameras: range) -> None:
    for camera in cameras:
        Path(other.paths[camera]).write_bytes(Path(one.paths[camera]).read_bytes())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    paths: list[str] = []
    pixels = copied_rigs._pixels
    monkeypatch.setattr(copied_rigs, "_pixels", lambda path: paths.append(path) or pixels(path))
    return paths


@pytest.mark.parametrize("same", [range(3), range(2), range(1, 3)], ids=["all", "first two", "last two"])
@pytest.mark.parametrize("rigs", [CROWD, 8], ids=["a crowd", "few"])
def test_a_copy_is_found_wherever_it_is(rigs: int, same: range, tmp_path: Path, decoded: list[str]) -> None:
    planned = drives(tmp_path, rigs)
    assert find_copy(planned) is None
    assert not decoded, "64 kB of some images tell all of them from each other"
    copy(planned[7], planned[rigs + 3], same)
    found = find_copy(planned)
    assert found is not None
    assert [str(rig) for rig in found.rigs] == ["monday sample 007 of train", "friday sample 003 of val"]
    assert found.cameras == tuple(same)


@pytest.mark.parametrize("cameras", [("front",), ("front", "rear")])
def test_rigs_of_one_or_two_cameras(cameras: tuple[str, ...], tmp_path: Path, decoded: list[str]) -> None:
    planned = drives(tmp_path, 8, cameras)
    assert find_copy(planned) is None
    assert not decoded
    copy(planned[6], planned[9], range(len(cameras)))
    assert find_copy(planned) is not None


def test_one_camera_that_sees_the_same_is_no_copy(tmp_path: Path) -> None:
    """As one that sees nothing but a trailer, in a simulator."""
    planned = drives(tmp_path, 8)
    copy(planned[0], planned[8], range(1))
    assert find_copy(planned) is None


def test_images_of_one_colour_do_not_count(tmp_path: Path) -> None:
    planned = drives(tmp_path, 8)
    for rig in planned:
        for path in rig.paths[:2]:
            uncompressed(Path(path), np.full((6, 8, 3), 9, np.uint8))
    assert find_copy(planned) is None
    copy(planned[0], planned[8], range(2, 3))
    found = find_copy(planned)
    assert found is not None
    assert found.cameras == (2,)


def test_a_bounded_part_of_a_crowd_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied_rigs, "SAMPLES", 40)
    read: list[str] = []
    sample = copied_rigs._sample
    monkeypatch.setattr(copied_rigs, "_sample", lambda path, size: read.append(path) or sample(path, size))
    assert find_copy(drives(tmp_path, CROWD)) is None
    assert len(read) == 40
