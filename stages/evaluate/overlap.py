"""Which points of one camera's image its neighbour in the ring sees too, and how far from the rig they are.

Poses are those of each camera's own time, so that the same place in the world is meant; what moves meanwhile does not
count as moving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from cache_schema import CachedRig


@dataclass(frozen=True)
class Rays:
    """Lines of sight of one camera: world vectors to depth 1 m, and from the rig's origin to the camera, in metres."""

    per_depth: Float64[np.ndarray, "point 3"]
    camera_m: Float64[np.ndarray, "3"]

    def distance_m(self, depth_m: Float[np.ndarray, "point"]) -> Float64[np.ndarray, "point"]:
        """Distance from the rig's origin of what lies at these depths (camera z)."""
        return np.asarray(np.linalg.norm(self.camera_m + self.per_depth * depth_m[:, None], axis=1))


@dataclass(frozen=True)
class Overlap:
    """What camera `second` may see of the points of camera `first`."""

    first: int
    second: int
    inside: Int64[np.ndarray, "inside"]
    """Points of `first` that lie before `second` and in its image, perhaps behind something; indices."""
    common: Int64[np.ndarray, "common"]
    """Those among them that both see: not on the own car and, where depth is dense, not hidden from `second`."""
    common_xy_px: Float64[np.ndarray, "common 2"]
    """Where `second` sees the common points, in its native image."""
    first_rays: Rays
    second_rays: Rays
    """Of the common points."""

    def distances_m(
        self, first_m: Float[np.ndarray, "common"], second_m: Float[np.ndarray, "common"]
    ) -> tuple[Float64[np.ndarray, "common"], Float64[np.ndarray, "common"]]:
        """How far from the rig's origin either camera puts the common points, from its depths there (camera z)."""
        return self.first_rays.distance_m(first_m), self.second_rays.distance_m(second_m)


def find_overlaps(
    rig: CachedRig,
    xy_px: Sequence[Float64[np.ndarray, "_ 2"]],
    depth_m: Sequence[Float32[np.ndarray, "_"]],
    pairs: Sequence[tuple[int, int]],
    *,
    native_size: tuple[int, int],
    range_m: tuple[float, float],
    dense_m: Float32[np.ndarray, "V H W"] | None,
    tolerance: float,
) -> tuple[tuple[Overlap, Overlap], ...]:
    """Overlaps of adjacent cameras, both ways, for the points of each view in its native image.

    `dense_m` is what every camera sees, where that is known: a common point's depth differs from it by at most
    `tolerance` of that depth.
    """
    rays = [_rays(rig, view, xy) for view, xy in enumerate(xy_px)]
    world_m = [
        rig.world_from_rig[:3, 3] + ray.camera_m + ray.per_depth * depth[:, None]
        for ray, depth in zip(rays, depth_m, strict=True)
    ]

    def overlap(first: int, second: int) -> Overlap:
        there_px, there_m = _project(rig, second, world_m[first])
        height, width = native_size
        inside = ((there_m > 0) & (there_px >= 0).all(axis=1) & (there_px < (width, height)).all(axis=1)).nonzero()[0]
        there_px, there_m = there_px[inside], there_m[inside]
        common = (there_m > range_m[0]) & (there_m < range_m[1])
        common &= _outside_own_car(rig, first, xy_px[first][inside], native_size)
        common &= _outside_own_car(rig, second, there_px, native_size)
        if dense_m is not None:
            x, y = there_px.astype(np.int64).T
            common &= np.abs(dense_m[second, y, x] - there_m) <= tolerance * there_m
        return Overlap(
            first=first,
            second=second,
            inside=inside,
            common=inside[common],
            common_xy_px=there_px[common],
            first_rays=Rays(rays[first].per_depth[inside[common]], rays[first].camera_m),
            second_rays=_rays(rig, second, there_px[common]),
        )

    return tuple((overlap(i, j), overlap(j, i)) for i, j in pairs)


def _rays(rig: CachedRig, view: int, xy_px: Float64[np.ndarray, "point 2"]) -> Rays:
    homogeneous = np.concatenate([xy_px, np.ones((len(xy_px), 1))], axis=1)
    world_from_camera = rig.world_from_camera[view]
    world_from_pixel = world_from_camera[:3, :3] @ np.linalg.inv(rig.intrinsics_px[view].astype(np.float64))
    return Rays(homogeneous @ world_from_pixel.T, world_from_camera[:3, 3] - rig.world_from_rig[:3, 3])


def _project(
    rig: CachedRig, view: int, world_m: Float64[np.ndarray, "point 3"]
) -> tuple[Float64[np.ndarray, "point 2"], Float64[np.ndarray, "point"]]:
    """Native pixels and depths (camera z) of points of the world in a camera; pixels count only where z > 0."""
    world_from_camera = rig.world_from_camera[view]
    camera_m = (world_m - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    image = camera_m @ rig.intrinsics_px[view].astype(np.float64).T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return image[:, :2] / image[:, 2:], camera_m[:, 2]


def _outside_own_car(
    rig: CachedRig, view: int, xy_px: Float64[np.ndarray, "point 2"], native_size: tuple[int, int]
) -> Bool[np.ndarray, "point"]:
    mask = rig.ego_mask[view]
    x, y = xy_px.astype(np.int64).T
    return np.asarray(mask[y * mask.shape[0] // native_size[0], x * mask.shape[1] // native_size[1]])
