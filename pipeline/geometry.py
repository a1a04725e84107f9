"""From pixels and depths to points in space."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64


def grid_px(size: tuple[int, int], native_size: tuple[int, int]) -> Float64[np.ndarray, "h w 2"]:
    """Centres (x right, y down) of the pixels of an image of `size` (h, w), in pixels of the native image (H, W)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    scale = np.divide(native_size, size)[::-1]
    return np.asarray((np.stack([columns, rows], axis=-1) + 0.5) * scale)


def unproject(
    xy_px: Float[np.ndarray, "point 2"], depth_m: Float[np.ndarray, "point"], K: Float[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "point 3"]:
    """Points of an image (x right, y down) at depths (camera z, metres), in the camera's frame."""
    homogeneous = np.concatenate([xy_px, np.ones((len(xy_px), 1))], axis=1)
    return np.asarray(homogeneous @ np.linalg.inv(K).T * np.asarray(depth_m, np.float64)[:, None])
