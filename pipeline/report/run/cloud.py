"""One rig as points in space, small enough to be a part of a page."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, UInt8

from pipeline.geometry import grid_px, unproject
from pipeline.report.seen import Seen

MOST_POINTS = 24_000
"""Of each subject."""
AROUND_M = 40.0
"""Points within this distance ahead, behind, to the left and to the right are shown."""
HEIGHT_M = (-3.0, 10.0)
"""And at these heights over the rig's origin."""
CM_PER_M = 100


def cloud(seen: Seen) -> dict[str, Any]:
    """The points of every subject, and of the LiDAR, in the rig's frame (x forward, y left, z up).

    Each has `xyz`, little-endian int16 in centimetres, and `rgb`, the colours of the images, both in base64; `heights`
    are those between which colours of height run.
    """
    views = len(seen.dataset.cameras)
    height, width = seen.rig.images.shape[1:3]
    stride = max(1, int(np.ceil(np.sqrt(views * height * width / MOST_POINTS))))
    grid = grid_px((height // stride, width // stride), seen.dataset.native_size).reshape(-1, 2)
    clouds = {name: _joined(_predicted(seen, name, grid)) for name in seen.predictions}
    clouds["LiDAR"] = lidar = _joined(_lidar(seen))
    heights = lidar[0][:, 2] if len(lidar[0]) else np.zeros(1)
    return {
        "around": AROUND_M,
        "height": HEIGHT_M,
        "heights": [round(float(level), 2) for level in np.quantile(heights, (0.02, 0.98))],
        "clouds": {name: _packed(*each) for name, each in clouds.items()},
    }


Points = tuple[Float64[np.ndarray, "point 3"], UInt8[np.ndarray, "point 3"]]
"""Places and colours."""


def _predicted(seen: Seen, subject: str, xy_px: Float[np.ndarray, "point 2"]) -> Iterator[Points]:
    prediction = seen.predictions[subject]
    for view in range(len(seen.dataset.cameras)):
        if prediction.knows(view):
            depth_m = np.clip(prediction.at(view, xy_px), *seen.protocol.clamp_m)
            yield _in_rig(seen, view, xy_px, depth_m)


def _lidar(seen: Seen) -> Iterator[Points]:
    for view, points in enumerate(seen.rig.lidar):
        chosen = slice(None, None, max(1, len(points.depth_m) * len(seen.rig.lidar) // MOST_POINTS))
        yield _in_rig(seen, view, points.uv_px[chosen] + 0.5, points.depth_m[chosen])


def _in_rig(seen: Seen, view: int, xy_px: Float[np.ndarray, "point 2"], depth_m: Float[np.ndarray, "point"]) -> Points:
    """Points of a camera in the rig's frame; those on the own car are left out."""
    image = seen.rig.images[view]
    x, y = (xy_px * np.divide(image.shape[:2], seen.dataset.native_size)[::-1]).astype(int).T
    world = seen.rig.ego_mask[view][y, x]
    pose = seen.rig.rig_from_camera[view]
    camera_m = unproject(xy_px[world], depth_m[world], seen.rig.intrinsics_px[view].astype(np.float64))
    return camera_m @ pose[:3, :3].T + pose[:3, 3], image[y, x][world]


def _joined(views: Iterator[Points]) -> Points:
    """All views', as far as they are near enough to be shown."""
    found = list(views)
    if not found:
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    xyz_m, rgb = (np.concatenate(parts) for parts in zip(*found, strict=True))
    near = (np.abs(xyz_m[:, :2]) < AROUND_M).all(axis=1)
    near &= (xyz_m[:, 2] > HEIGHT_M[0]) & (xyz_m[:, 2] < HEIGHT_M[1])
    return xyz_m[near], rgb[near]


def _packed(xyz_m: Float64[np.ndarray, "point 3"], rgb: UInt8[np.ndarray, "point 3"]) -> dict[str, str]:
    centimetres = np.round(CM_PER_M * xyz_m).astype("<i2")
    return {"xyz": base64.b64encode(centimetres.tobytes()).decode(), "rgb": base64.b64encode(rgb.tobytes()).decode()}
