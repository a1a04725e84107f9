"""Three cameras before a wall: depths, overlaps and points in space that are known in closed form."""

from __future__ import annotations

import math

import numpy as np

from cache_schema import CachedRig, DatasetIdentity, LidarView
from stages.evaluate.protocol import protocol
from stages.evaluate.truth import Truth, dense_truth, lidar_truth

H, W = 30, 40
FOCAL_PX = 25.0
CAMERAS = ("LEFT", "FRONT", "REAR")
PAIRS = ((0, 1),)
DATASET = DatasetIdentity(name="tiny", version="1", cameras=CAMERAS, adjacent_pairs=PAIRS, native_size=(H, W))
PROTOCOL = protocol("native", DATASET)
WALL_M = 12.0
"""A wall that all cameras look at is the plane y = WALL_M of the world, but for REAR, which looks away from it."""
K = np.array([[FOCAL_PX, 0, W / 2], [0, FOCAL_PX, H / 2], [0, 0, 1]], np.float32)


def pose(yaw_deg: float, x: float) -> np.ndarray:
    """A camera at (x, 0, 1.5) that looks to +y, turned to the left by `yaw_deg`."""
    yaw = math.radians(yaw_deg)
    forward, down = (-math.sin(yaw), math.cos(yaw), 0.0), (0.0, 0.0, -1.0)
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([np.cross(down, forward), down, forward])
    matrix[:3, 3] = x, 0.0, 1.5
    return matrix


POSES = np.stack([pose(25, -0.4), pose(-25, 0.5), pose(180, 0.0)])


def rays() -> np.ndarray:
    """Camera vectors of depth 1 through the pixels' centres (H·W, 3)."""
    v, u = np.mgrid[:H, :W].reshape(2, -1) + 0.5
    return np.stack([(u - W / 2) / FOCAL_PX, (v - H / 2) / FOCAL_PX, np.ones_like(u)], axis=1)


def wall_depth() -> np.ndarray:
    """Depth (V, H, W) of the wall, 0 where a camera looks past it."""
    depths = []
    for matrix in POSES:
        towards = (rays() @ matrix[:3, :3].T)[:, 1]
        depth = np.where(towards > 0.05, (WALL_M - matrix[1, 3]) / np.maximum(towards, 0.05), 0)
        depths.append(depth.reshape(H, W))
    return np.stack(depths).astype(np.float32)


def rig() -> CachedRig:
    """Cameras before the wall, LiDAR at every third pixel."""
    depth = wall_depth()
    v, u = np.mgrid[:H:3, :W:3].reshape(2, -1)
    uv = np.stack([u, v], axis=1).astype(np.uint16)
    world_from_rig = np.eye(4)
    world_from_rig[:3, 3] = 0.1, -0.3, 0.0
    return CachedRig(
        scene="s",
        sample="0",
        timestamp=0,
        images=np.zeros((3, H, W, 3), np.uint8),
        lidar=tuple(LidarView(uv[depth[i][v, u] > 0], depth[i][v, u][depth[i][v, u] > 0]) for i in range(3)),
        intrinsics_px=np.tile(K, (3, 1, 1)),
        rig_from_camera=np.linalg.inv(world_from_rig) @ POSES,
        world_from_camera=POSES,
        world_from_rig=world_from_rig,
        ego_mask=np.ones((3, H, W), bool),
    )


def truths(of: CachedRig) -> dict[str, Truth]:
    return {
        "lidar": lidar_truth(of, PROTOCOL, DATASET),
        "dense": dense_truth(wall_depth(), of, PROTOCOL, DATASET),
    }
