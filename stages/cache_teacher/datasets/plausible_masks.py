"""Whether an image can be an ego mask: black where a camera sees the car that carries it, white elsewhere."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cache_schema.errors import DatasetError

WHITE = 250
"""Luminance from which on a pixel counts as white."""
MOST_GREY = 0.02
"""Share of a mask between black and white that smoothed borders of the car explain."""
MOST_EGO = 0.6
"""Share of an image that the car covers at most: of DDAD's up to 0.27."""
LARGE_EGO = 0.3
SAME_SHAPE = 0.01
"""By so much ratios of height and width may differ, and by a pixel of the mask, which rounding leaves."""
EXPECTED = "expected 0 for the ego vehicle and 255 for the world"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def require_mask(luminance: UInt8[np.ndarray, "H W"], data: bytes, path: Path) -> float:
    """The share of a mask that is neither black nor white; `data` is its file.

    Raises DatasetError where it cannot be one: nothing in its luminance but something in its transparency, other values
    than black and white, more of the car than a camera can see, or the car at the top.
    """
    share = np.bincount(luminance.ravel(), minlength=256) / luminance.size
    values = np.flatnonzero(share)
    if len(values) == 1 and _has_transparency(data):
        raise DatasetError(
            f"{path}: has luminance {values[0]} everywhere, and its mask in the transparency; {EXPECTED}, in luminance"
        )
    grey = 0.0 if values.max() == 1 else float(share[1:WHITE].sum())  # 0 and 1 are a mask too
    if grey > MOST_GREY:
        shown = ", ".join(map(str, values[(values > 0) & (values < WHITE)][:6]))
        more = ", …" if ((values > 0) & (values < WHITE)).sum() > 6 else ""
        raise DatasetError(
            f"{path}: {grey:.0%} of it is neither black nor white (values {shown}{more}); {EXPECTED}, and no others "
            "but at smoothed borders; write it without classes, shades or JPEG"
        )
    ego, top, bottom = float(share[0]), *((luminance[row] == 0).mean() for row in (0, -1))
    if ego >= MOST_EGO or (ego >= LARGE_EGO and top > 0.9 and bottom < 0.5):
        raise DatasetError(
            f"{path}: takes {ego:.0%} of the image for the ego vehicle; expected less than {MOST_EGO:.0%}, at the "
            f"bottom; {EXPECTED}: is it inverted?"
        )
    return grey


def require_shape(path: Path, size_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
    """Raise DatasetError where a mask would be stretched otherwise than the images that it is for."""
    (height, width), (image_height, image_width) = size_hw, image_hw
    off = abs(height * image_width / (width * image_height) - 1)
    if off > SAME_SHAPE + 1 / min(size_hw):
        raise DatasetError(
            f"{path}: is {width}×{height} pixels; expected the shape of the images, {image_width}×{image_height}, over "
            "which a mask of another would be stretched; draw it on one of them, or crop it as they were"
        )


def at_the_top(mask: UInt8[np.ndarray, "H W"]) -> bool:
    """Whether a mask has the ego vehicle (0) rather at the top than at the bottom."""
    top, bottom = ((mask[row] == 0).mean() for row in (0, -1))
    return bool(top > bottom)


def strangers(folder: Path, cameras: Sequence[str]) -> list[str]:
    """Names of images in a folder of masks that belong to no camera.

    Raises DatasetError where one is a camera's in all but spelling, and that camera has none.
    """
    expected = {mask_name(camera) for camera in cameras}
    images = [path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    strange = [name for name in images if name not in expected]
    for camera in cameras:
        meant = [name for name in strange if _plain(Path(name).stem) == _plain(camera)]
        if meant and mask_name(camera) not in images:
            raise DatasetError(f"{folder / meant[0]}: expected {mask_name(camera)}, for the camera {camera}; rename it")
    return strange


def mask_name(camera: str) -> str:
    """The file of a camera's mask."""
    return f"{camera}_mask.png"


def _plain(name: str) -> str:
    """A name without what people spell in different ways: case, separators, leading zeros, and that it is a mask."""
    words = re.findall(r"[^\W\d_]+|\d+", unicodedata.normalize("NFC", name).casefold())
    return "".join(word.lstrip("0") or "0" for word in words if word not in ("mask", "masks"))


def _has_transparency(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        low, high = image.convert("RGBA").getchannel("A").getextrema()
        return low != high
