"""LiDAR points on the pixels of a smaller image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from cache_schema import LidarView
from stages.train.augment.window import GRAIN, WHOLE, Window


def rasterise(
    lidar: LidarView, native_size: tuple[int, int], size: tuple[int, int], window: Window = WHOLE
) -> Float32[np.ndarray, "H W"]:
    """Depth in metres on an image of `size` = (H, W) that shows the window, 0 where there is no point.

    A point moves from its native pixel i to ⌊(i − start) · size / extent⌋, which for the whole image is
    ⌊i · size / native_size⌋; of several in one pixel the last wins, as in VFDepth's ground truth on the network's grid.
    """
    (native_height, native_width), (height, width) = native_size, size
    u, v = lidar.uv_px.astype(np.int64).T  # the products below exceed 32 bits
    row = (v * GRAIN - window.top * native_height) * height // (window.extent * native_height)
    column = (u * GRAIN - window.left * native_width) * width // (window.extent * native_width)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    depth_m = np.zeros(size, np.float32)
    depth_m[row[inside], column[inside]] = lidar.depth_m[inside]
    return depth_m
