"""A predicted map at points of the native image, as if it had been resized to the native image first."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer


def at_native_points(
    prediction: Float[np.ndarray, "h w"], xy_px: Float[np.ndarray, "point 2"], native_size: tuple[int, int]
) -> Float[np.ndarray, "point"]:
    """Bilinear values at points (x right, y down) of the native image (H, W); the centre of pixel (u, v) is + ½.

    At centres of pixels this is a resize to `native_size` with half-pixel centres and replicated borders, equal to
    OpenCV's INTER_LINEAR and to torch's `interpolate(mode="bilinear", align_corners=False)`, but the cost is that of
    the points, not of the native image.
    """
    h, w = prediction.shape
    x0, x1, fx = _neighbours(xy_px[:, 0], native_size[1], w)
    y0, y1, fy = _neighbours(xy_px[:, 1], native_size[0], h)
    upper = prediction[y0, x0] * (1 - fx) + prediction[y0, x1] * fx
    lower = prediction[y1, x0] * (1 - fx) + prediction[y1, x1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def _neighbours(
    place: Float[np.ndarray, "point"], native: int, size: int
) -> tuple[Integer[np.ndarray, "point"], Integer[np.ndarray, "point"], Float[np.ndarray, "point"]]:
    position = np.clip(place.astype(np.float64) * size / native - 0.5, 0, size - 1)
    first = np.floor(position).astype(np.int64)
    return first, np.minimum(first + 1, size - 1), position - first
