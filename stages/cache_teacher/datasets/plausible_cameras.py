"""Whether what is said of a camera can be true of its images: size, principal point, field of view, top."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import DescribedCamera

WIDEST_DEG = 150.0
"""No camera that sees more is a pinhole."""
NARROWEST_DEG = 5.0
"""A camera that sees less is none that looks around a car."""
CENTRE_X, CENTRE_Y = (0.46, 0.54), (0.455, 0.57)
"""Where principal points are, as parts of width and height: real ones at 0.467 to 0.518 and 0.46 to 0.557."""

UPRIGHT = 0.5
"""So much of the car's up is the up of an upright image, or the back of a camera that looks down: within 60° of it."""


def require_size(image: Path, found_hw: tuple[int, int], camera: str, said_hw: tuple[int, int] | None, by: str) -> None:
    """Raise DatasetError where an image is not of the size (height, width) that the dataset's own file says."""
    if said_hw is not None and found_hw != said_hw:
        raise DatasetError(
            f"{image}: is {_size(found_hw)} pixels; expected {_size(said_hw)}, as {by} says of {camera}, for whose "
            "pixels its intrinsics are; put the original images there, or scale intrinsics and the sizes said as well"
        )


def require_native_size(rig: RigFrames, native_hw: tuple[int, int]) -> None:
    """Raise DatasetError where a rig's images are of another size than those of the dataset's first."""
    if rig.images[0].shape[:2] != native_hw:
        raise DatasetError(
            f"{rig.scene} sample {rig.sample}: its images are {_size(rig.images[0].shape[:2])} pixels; expected "
            f"{_size(native_hw)} as in the first rig; scale images and intrinsics to that, or make it a dataset of its "
            "own"
        )


def require_pinhole(
    camera: str, intrinsics_px: Float32[np.ndarray, "3 3"], size_hw: tuple[int, int], source: str
) -> None:
    """Raise DatasetError where intrinsics cannot be those of a pinhole camera with images of this size."""
    height, width = size_hw
    fx, fy, cx, cy = intrinsics_px[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    if fx > 0 and fy > 0 and 0 < cx < width and 0 < cy < height and _seen_deg(intrinsics_px, size_hw) < WIDEST_DEG:
        return
    raise DatasetError(
        f"{source}: the intrinsics of {camera} have fx {fx:g}, fy {fy:g}, cx {cx:g} and cy {cy:g} for images of "
        f"{_size(size_hw)} pixels; expected them in pixels of these images, with the centre inside and less than "
        f"{WIDEST_DEG:g}° from border to border"
    )


def camera_doubts(cameras: Iterable[DescribedCamera], usual_hw: tuple[int, int]) -> list[str]:
    """What is doubtful of a split's cameras, a line for each kind; `usual_hw` is the size where no file tells.

    Raises DatasetError like `require_pinhole`.
    """
    off_centre: dict[str, str] = {}
    narrow: dict[str, str] = {}
    turned: dict[str, str] = {}
    ignored: dict[str, dict[str, None]] = {}
    for camera in cameras:
        size_hw = camera.size_hw or usual_hw
        require_pinhole(camera.name, camera.intrinsics_px, size_hw, camera.source)
        x, y = (camera.intrinsics_px[:2, 2] / size_hw[::-1]).tolist()
        if not (CENTRE_X[0] < x < CENTRE_X[1] and CENTRE_Y[0] < y < CENTRE_Y[1]):
            off_centre.setdefault(camera.name, f"{x:.2f} of the width and {y:.2f} of the height in {camera.source}")
        if (seen_deg := _seen_deg(camera.intrinsics_px, size_hw)) < NARROWEST_DEG:
            narrow.setdefault(camera.name, f"{seen_deg:.1f}° in {camera.source}")
        if not _is_upright(camera.rig_from_camera):
            turned.setdefault(camera.name, f"in {camera.source}")
        if camera.ignored:
            ignored.setdefault(camera.name, {}).update(dict.fromkeys(camera.ignored))
    lines = []
    if off_centre:
        lines.append(
            f"principal point far from the middle: {_each(off_centre)}; were images resized or cropped, and intrinsics "
            "not?"
        )
    if narrow:
        lines.append(f"field of view too narrow for a car's camera: {_each(narrow)}; are intrinsics in pixels?")
    if turned:
        lines.append(
            f"the top of the image is not up on the car: {_each(turned)}; are placements inverted, or of other axes "
            "than a camera's x right, y down, z forward?"
        )
    if ignored:
        said = _each({name: ", ".join(what) for name, what in ignored.items()})
        lines.append(f"ignored, for cameras are taken as pinholes: {said}; undistort images, or points are shifted")
    return lines


def _seen_deg(intrinsics_px: Float32[np.ndarray, "3 3"], size_hw: tuple[int, int]) -> float:
    """The wider of the two fields of view."""
    height, width = size_hw
    return 2 * math.degrees(math.atan(max(width / intrinsics_px[0, 0], height / intrinsics_px[1, 1]) / 2))


def _is_upright(rig_from_camera: Float64[np.ndarray, "4 4"]) -> bool:
    _, down, forward = rig_from_camera[2, :3].tolist()
    return bool(min(down, forward) < -UPRIGHT)


def _each(by_camera: dict[str, str]) -> str:
    """Cameras of which the same is said stand together."""
    together: dict[str, list[str]] = {}
    for name, said in by_camera.items():
        together.setdefault(said, []).append(name)
    return "; ".join(f"{', '.join(names)} ({said})" for said, names in together.items())


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}×{size_hw[0]}"
