"""A predicted map at native pixels, as if it had been resized to the native image first."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer


def at_native_pixels(
    prediction: Float[np.ndarray, "h w"], uv_px: Integer[np.ndarray, "point 2"], native_size: tuple[int, int]
) -> Float[np.ndarray, "point"]:
    """Bilinear resize to `native_size` (H, W) with half-pixel centres and replicated borders, at given pixels only.

    Equal to OpenCV's INTER_LINEAR and to torch's `interpolate(mode="bilinear", align_corners=False)`, but the
    cost is that of the points, not of the native image.
    """
    h, w = prediction.shape
    x0, x1, fx = _neighbours(uv_px[:, 0], native_size[1], w)
    y0, y1, fy = _neighbours(uv_px[:, 1], native_size[0], h)
    upper = prediction[y0, x0] * (1 - fx) + prediction[y0, x1] * fx
    lower = prediction[y1, x0] * (1 - fx) + prediction[y1, x1] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def _neighbours(
    pixel: Integer[np.ndarray, "point"], native: int, size: int
) -> tuple[Integer[np.ndarray, "point"], Integer[np.ndarray, "point"], Float[np.ndarray, "point"]]:
    position = np.clip((pixel.astype(np.float64) + 0.5) * size / native - 0.5, 0, size - 1)
    first = np.floor(position).astype(np.int64)
    return first, np.minimum(first + 1, size - 1), position - first
