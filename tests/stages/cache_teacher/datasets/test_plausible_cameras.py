"""Intrinsics that are not those of the images are refused or, where cropped images may have them, doubted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import DescribedCamera
from stages.cache_teacher.datasets.plausible_cameras import camera_doubts, require_pinhole

REAL = {
    "DDAD's front camera": (2181.5, 2181.6, 928.0, 616.0, 1936, 1216),
    "DDAD's CAMERA_05 of another car": (1062.4, 1056.8, 939.5, 622.5, 1936, 1216),
    "nuScenes' CAM_BACK_LEFT": (1256.7, 1256.7, 792.1, 492.8, 1600, 900),
    "nuScenes' CAM_FRONT_LEFT": (1272.6, 1272.6, 826.6, 479.8, 1600, 900),
    "nuScenes' CAM_BACK": (1259.5, 1259.5, 807.3, 501.2, 1600, 900),
    "KITTI's colour camera": (721.5, 721.5, 609.6, 172.9, 1242, 375),
    "PandaSet's back camera": (933.5, 934.6, 896.5, 507.4, 1920, 1080),
    "the room of docs/folder.md": (64, 64, 80, 48, 160, 96),
}

FRONT = np.array([[0.0, 0, 1, 1.7], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
"""A camera that looks ahead."""


def pitched(degrees: float, roll: float = 0) -> np.ndarray:
    """The front camera, with its view turned up and its image turned clockwise."""
    (s, r), (c, d) = np.sin(np.radians([degrees, roll])), np.cos(np.radians([degrees, roll]))
    up = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    clockwise = np.array([[d, -r, 0, 0], [r, d, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    placement: np.ndarray = FRONT @ up @ clockwise
    return placement


def described(
    name: str, fx: float, fy: float, cx: float, cy: float, size_hw: tuple[int, int] | None, *ignored: str
) -> DescribedCamera:
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    return DescribedCamera(name, "calibration.json", K, size_hw, FRONT, ignored)


@pytest.mark.parametrize("camera", REAL)
def test_real_cameras_are_not_doubted(camera: str):
    *intrinsics, width, height = REAL[camera]
    assert camera_doubts([described("front", *intrinsics, (int(height), int(width)))], (1, 1)) == []


@pytest.mark.parametrize("camera", REAL)
@pytest.mark.parametrize("factor", [0.5, 0.6, 0.75, 0.8, 1.25, 1.33, 1.5, 1.9, 2])
@pytest.mark.parametrize("axes", [(1, 0), (0, 1), (1, 1)], ids=["width", "height", "both"])
def test_resized_images_are_doubted_or_refused(camera: str, factor: float, axes: tuple[int, int]):
    *intrinsics, width, height = REAL[camera]
    size_hw = round(height * factor ** axes[1]), round(width * factor ** axes[0])
    try:
        (line,) = camera_doubts([described("front", *intrinsics, size_hw)], (1, 1))
    except DatasetError as error:
        line = str(error)
    assert "were images resized" in line or "in pixels of these images" in line


def test_cameras_of_which_the_same_is_wrong_stand_in_one_line():
    cameras = [described(name, 1000, 1000, 800, 450, (900, 3200)) for name in ("left", "right")]
    (line,) = camera_doubts([*cameras, described("back", 1000, 1000, 800, 450, None)], (900, 1600))
    assert "left, right (0.25 of the width and 0.50 of the height in calibration.json)" in line
    assert "back" not in line


def test_a_lens_that_is_ignored_is_said():
    cameras = [
        described("front", 1000, 1000, 800, 450, None, "k1", "k2"),
        described("left", 1000, 1000, 800, 450, None, "fov"),
    ]
    (line,) = camera_doubts(cameras, (900, 1600))
    assert "pinholes: front (k1, k2); left (fov); undistort" in line


@pytest.mark.parametrize(
    ("fx", "cx"), [(0.5, 0.5), (1000, -1), (1000, 1700), (1000, np.nan), (0, 800), (-1000, 800), (150, 800)]
)
def test_no_pinhole(fx: float, cx: float):
    K = np.array([[fx, 0, cx], [0, 1000, 450], [0, 0, 1]], np.float32)
    with pytest.raises(DatasetError, match=r"the intrinsics of front have fx .* for images of 1600×900"):
        require_pinhole("front", K, (900, 1600), "calibration.json")


@pytest.mark.parametrize("placement", [FRONT, pitched(30), pitched(-50), pitched(-80), pitched(-10, roll=50)])
def test_a_camera_that_is_tilted_is_not_doubted(placement: np.ndarray):
    camera = described("front", 1000, 1000, 800, 450, None)
    assert camera_doubts([replace(camera, rig_from_camera=placement)], (900, 1600)) == []


@pytest.mark.parametrize(
    "placement",
    [pitched(0, roll=180), pitched(0, roll=90), np.linalg.inv(FRONT), np.eye(4), FRONT * [[1], [1], [-1], [1]]],
    ids=["upside down", "on its side", "inverted", "the car's own axes", "z down"],
)
def test_a_placement_by_which_the_top_of_the_image_is_not_up(placement: np.ndarray):
    left, right = (described(name, 1000, 1000, 800, 450, None) for name in ("left", "right"))
    (line,) = camera_doubts([replace(left, rig_from_camera=placement), right], (900, 1600))
    assert line.startswith("the top of the image is not up on the car: left (in calibration.json); are placements inv")
