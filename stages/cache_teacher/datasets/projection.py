"""LiDAR points to the pixels of a camera, as TRI's toolkit does it (`dgp.utils.camera.generate_depth_map`)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from cache_schema import LidarView

NO_POINTS = LidarView(np.empty((0, 2), np.uint16), np.empty(0, np.float32))


def world_points(
    points_m: Float[np.ndarray, "point 3"], world_from_lidar: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "4 point"]:
    """Homogeneous world coordinates (metres) of points in the LiDAR's frame. NaN and infinity pass through."""
    homogeneous = np.ones((4, len(points_m)))
    with np.errstate(invalid="ignore"):
        homogeneous[:3] = points_m.T
        return world_from_lidar @ homogeneous


def project(
    world: Float64[np.ndarray, "4 point"],
    camera_from_world: Float64[np.ndarray, "4 4"],
    intrinsics_px: Float32[np.ndarray, "3 3"],
    size_hw: tuple[int, int],
) -> LidarView:
    """The points that fall into a pinhole camera's image, lens distortion ignored.

    u and v are truncated toward zero, so what falls less than a pixel outside the left and the upper border
    belongs to the border's pixel. Points behind the camera or without finite coordinates are dropped. Of
    several points in one pixel the last in the sweep's order stays.
    """
    height, width = size_hw
    fx, fy, cx, cy = intrinsics_px[[0, 1, 0, 1], [0, 1, 2, 2]].astype(np.float64)
    with np.errstate(all="ignore"):
        x, y, z = (camera_from_world @ world)[:3]
        inverse_z = 1.0 / z
        u = x * inverse_z * fx + cx
        v = y * inverse_z * fy + cy
        depth_m = z.astype(np.float32)
        # Comparisons with NaN are false, which is how such points fall out.
        seen = (u > -1) & (u < width) & (v > -1) & (v < height) & (z > 0) & np.isfinite(depth_m)
    pixel = v[seen].astype(np.int64) * width + u[seen].astype(np.int64)
    return last_per_pixel(pixel, depth_m[seen], width)


def last_per_pixel(pixel: Int64[np.ndarray, "seen"], depth_m: Float32[np.ndarray, "seen"], width: int) -> LidarView:
    """Of the points in one pixel (row · width + column) the last."""
    order = np.argsort(pixel, kind="stable")
    pixel = pixel[order]
    last = np.diff(pixel, append=-1) != 0
    v, u = np.divmod(pixel[last], width)
    return LidarView(uv_px=np.stack([u, v], axis=1).astype(np.uint16), depth_m=depth_m[order][last])
