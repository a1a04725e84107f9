"""Maps of a rig's views as pictures: colours of depth and of error, views side by side, files for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from PIL import Image

from stages.cache_teacher.sheet import DEPTH_RANGE_M, columns

GAP = 4
"""Pixels between views."""
ERROR = 0.5
"""Relative error, or difference, that has the brightest colour."""
DEPTH_COLOURS, ERROR_COLOURS = "turbo_r", "inferno"

Maps = Float[np.ndarray, "V H W"]
RGBA = UInt8[np.ndarray, "... 4"]


def depth_colours(depth_m: Float[np.ndarray, "..."]) -> RGBA:
    """Depths in metres; what is not finite or not above 0 is transparent."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    low, high = np.log(DEPTH_RANGE_M)
    return _painted((np.log(np.where(known, depth_m, 1)) - low) / (high - low), known, DEPTH_COLOURS)


def error_colours(error: Float[np.ndarray, "..."]) -> RGBA:
    """Relative errors; NaN is transparent."""
    known = np.isfinite(error)
    return _painted(np.where(known, error, 0) / ERROR, known, ERROR_COLOURS)


def _painted(level: Float[np.ndarray, "..."], known: Bool[np.ndarray, "..."], colours: str) -> RGBA:
    rgba: UInt8[np.ndarray, "... 4"] = (colormaps[colours](np.clip(level, 0, 1)) * 255).round().astype(np.uint8)
    rgba[~known] = 0
    return rgba


def shrunken(images: UInt8[np.ndarray, "V H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "V h w 4"]:
    """Images at the size at which they are shown."""
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS).convert("RGBA"))
            for image in images
        ]
    )


def dots(
    xy: Sequence[Float[np.ndarray, "_ 2"]],
    values: Sequence[Float[np.ndarray, "_"]],
    depth_m: Sequence[Float[np.ndarray, "_"]],
    size: tuple[int, int],
) -> Maps:
    """Values at points (x right, y down) of each view as dots of 2 × 2 pixels, near ones before far ones; else NaN."""
    maps = np.full((len(xy), *size), np.nan, np.float32)
    for view, (points, at, depth) in enumerate(zip(xy, values, depth_m, strict=True)):
        far_first = np.argsort(-depth)
        x, y = points[far_first].astype(int).T
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            maps[view, np.minimum(y + down, size[0] - 1), np.minimum(x + right, size[1] - 1)] = at[far_first]
    return maps


def in_a_row(views: UInt8[np.ndarray, "V H W 4"]) -> UInt8[np.ndarray, "H L 4"]:
    """Views side by side as on a picture sheet, with transparent gaps."""
    count, height, width, _ = views.shape
    row = np.zeros((height, count * (width + GAP) - GAP, 4), np.uint8)
    for place, view in enumerate(columns(count)):
        left = place * (width + GAP)
        row[:, left : left + width] = views[view]
    return row


def data_url(pixels: UInt8[np.ndarray, "H L 4"]) -> str:
    """A picture as a part of a page."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def colour_bar(colours: str) -> str:
    """A colour map as a CSS gradient, from its low end to its high end."""
    stops = [colormaps[colours](level)[:3] for level in np.linspace(0, 1, 12)]
    listed = ", ".join("#" + "".join(f"{round(255 * part):02x}" for part in stop) for stop in stops)
    return f"linear-gradient(to right, {listed})"
