"""What predictions of a rig are compared with: LiDAR points, or dense depth, and what two cameras see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from cache_schema import CachedRig, DatasetIdentity
from stages.evaluate.overlap import Overlap, find_overlaps
from stages.evaluate.protocol import Protocol, TruthName
from stages.evaluate.regions import region_members


@dataclass(frozen=True)
class TruthPoints:
    """The points of one image that count: their native pixels' centres (x right, y down), and depths in metres."""

    xy_px: Float64[np.ndarray, "point 2"]
    depth_m: Float32[np.ndarray, "point"]


@dataclass(frozen=True)
class Truth:
    """The truth of one rig."""

    name: TruthName
    views: tuple[TruthPoints, ...]
    overlaps: tuple[tuple[Overlap, Overlap], ...]
    """For each adjacent pair of cameras: points of its first that its second sees, and the other way round."""
    regions: Mapping[str, tuple[Bool[np.ndarray, "_"], ...]] = field(default_factory=dict)
    """By name: which points of each view lie in the region."""


def lidar_truth(rig: CachedRig, protocol: Protocol, dataset: DatasetIdentity) -> Truth:
    """The LiDAR points of a rig that count. That two cameras see one of them is not checked for occlusion."""
    views = tuple(
        _counted(view, points.uv_px.astype(np.int64), points.depth_m, rig, protocol, dataset)
        for view, points in enumerate(rig.lidar)
    )
    return _truth("lidar", views, rig, protocol, dataset, dense_m=None)


def dense_truth(
    dense_m: Float32[np.ndarray, "V H W"], rig: CachedRig, protocol: Protocol, dataset: DatasetIdentity
) -> Truth:
    """The pixels of a rig that count: those with depth in range."""
    height, width = dataset.native_size
    v, u = np.mgrid[:height, :width].reshape(2, -1)
    uv_px = np.stack([u, v], axis=1)
    views = tuple(
        _counted(view, uv_px, depth_m.ravel(), rig, protocol, dataset) for view, depth_m in enumerate(dense_m)
    )
    return _truth("dense", views, rig, protocol, dataset, dense_m)


def _counted(
    view: int,
    uv_px: Int64[np.ndarray, "point 2"],
    depth_m: Float32[np.ndarray, "point"],
    rig: CachedRig,
    protocol: Protocol,
    dataset: DatasetIdentity,
) -> TruthPoints:
    """The points of a view that the protocol counts, from those at native pixels, row by row."""
    low, high = protocol.range_m
    native = np.array(dataset.native_size[::-1])
    network = np.array(rig.images.shape[2:0:-1])
    xy_px = uv_px + 0.5
    if protocol.ground_truth == "network":
        known = depth_m > 0
        uv_px, depth_m = _last_per_pixel(uv_px[known] * network // native, depth_m[known], width=int(network[0]))
        xy_px = (uv_px + 0.5) * native / network
    counted = (depth_m > low) & (depth_m < high)
    if protocol.ego_mask:
        x, y = (xy_px * network / native).astype(np.int64).T
        counted &= rig.ego_mask[view][y, x]
    return TruthPoints(xy_px[counted], depth_m[counted])


def _last_per_pixel(
    uv_px: Int64[np.ndarray, "point 2"], depth_m: Float32[np.ndarray, "point"], width: int
) -> tuple[Int64[np.ndarray, "pixel 2"], Float32[np.ndarray, "pixel"]]:
    """Of the points in one pixel the last."""
    pixel = uv_px[:, 1] * width + uv_px[:, 0]
    found, from_the_end = np.unique(pixel[::-1], return_index=True)
    v, u = np.divmod(found, width)
    return np.stack([u, v], axis=1), depth_m[::-1][from_the_end]


def _truth(
    name: TruthName,
    views: tuple[TruthPoints, ...],
    rig: CachedRig,
    protocol: Protocol,
    dataset: DatasetIdentity,
    dense_m: Float32[np.ndarray, "V H W"] | None,
) -> Truth:
    xy_px, depth_m = [view.xy_px for view in views], [view.depth_m for view in views]
    overlaps = find_overlaps(
        rig,
        xy_px,
        depth_m,
        dataset.adjacent_pairs,
        native_size=dataset.native_size,
        range_m=protocol.range_m,
        dense_m=dense_m,
        tolerance=protocol.same_surface,
    )
    return Truth(name, views, overlaps, region_members(xy_px, depth_m, protocol, dataset.native_size))
