"""LiDAR points on the pixels of a smaller image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from cache_schema import LidarView


def rasterise(lidar: LidarView, native_size: tuple[int, int], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Depth in metres on an image of `size` = (H, W), 0 where there is no point.

    A point moves from its native pixel i to ⌊i · size / native_size⌋; of several in one pixel the last wins,
    as in VFDepth's ground truth on the network's grid.
    """
    (native_height, native_width), (height, width) = native_size, size
    u, v = lidar.uv_px.astype(np.int64).T  # the products below exceed 16 bits
    depth_m = np.zeros(size, np.float32)
    depth_m[v * height // native_height, u * width // native_width] = lidar.depth_m
    return depth_m
