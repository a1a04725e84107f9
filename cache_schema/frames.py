"""One rig on its way into the cache, and how it fills its row of the arrays of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int16, UInt8, UInt16

from cache_schema.arrays import DENSE_DEPTH, frame_arrays, frame_sizes
from cache_schema.errors import CacheError
from cache_schema.images import encode_jpeg, resize
from cache_schema.manifest import DatasetIdentity, ImageSpec, SplitRecord


@dataclass(frozen=True)
class LidarView:
    """The LiDAR points one camera sees: native pixels (u, v) and depth in metres, at most one per pixel."""

    uv_px: UInt16[np.ndarray, "point 2"]
    depth_m: Float32[np.ndarray, "point"]


@dataclass(frozen=True)
class RigFrames:
    """What one rig's cameras and LiDAR saw; V cameras in ring order, images decoded at native size.

    `image_files` are the files the images were decoded from. `a_from_b` maps homogeneous points of frame b to
    frame a; the rig frame is x forward, y left, z up, a camera's is x right, y down, z forward.
    `dense_depth_m` is z in the camera's frame at every native pixel, 0 where there is none; None without dense depth.
    """

    scene: str
    sample: str
    timestamp: int
    images: tuple[UInt8[np.ndarray, "H W 3"], ...]
    image_files: tuple[bytes, ...]
    lidar: tuple[LidarView, ...]
    intrinsics_px: Float32[np.ndarray, "V 3 3"]
    rig_from_camera: Float64[np.ndarray, "V 4 4"]
    world_from_camera: Float64[np.ndarray, "V 4 4"]
    world_from_rig: Float64[np.ndarray, "4 4"]
    dense_depth_m: Float32[np.ndarray, "V native_h native_w"] | None = None


def empty_frames(rigs: int, dataset: DatasetIdentity, image: ImageSpec, split: SplitRecord) -> dict[str, np.ndarray]:
    """The arrays of `frames/` for `rigs` rigs, holding fill values until `put_rig` fills them row by row."""
    sizes = frame_sizes(dataset, image, split) | {"rig": rigs}
    return {array.name: np.full(array.shape(sizes), array.fill, array.dtype) for array in frame_arrays(image, split)}


def put_rig(
    blocks: dict[str, np.ndarray], row: int, rig: RigFrames, ego_mask_index: Int16[np.ndarray, "V"], image: ImageSpec
) -> None:
    """Put one rig into its row of the arrays; `ego_mask_index` is −1 for a camera without a mask.

    Raises CacheError, naming the rig, where something does not fit.
    """
    try:
        _fill_row(blocks, row, rig, image)
        blocks["ego_mask_index"][row] = ego_mask_index
    except CacheError as error:
        raise CacheError(f"{rig.scene} sample {rig.sample}: {error}") from error


def _fill_row(blocks: dict[str, np.ndarray], row: int, rig: RigFrames, image: ImageSpec) -> None:
    if image.encoding == "raw":
        blocks["image"][row] = np.stack([resize(view, image) for view in rig.images])
    else:
        _fill_files(blocks, row, rig, image)
    _fill_lidar(blocks, row, rig.lidar)
    if DENSE_DEPTH.name in blocks:
        blocks[DENSE_DEPTH.name][row] = _dense_depth(rig, blocks[DENSE_DEPTH.name].shape[1:])
    blocks["scene"][row] = _text(rig.scene, blocks["scene"].shape[1])
    blocks["sample"][row] = _text(rig.sample, blocks["sample"].shape[1])
    blocks["timestamp"][row] = rig.timestamp
    blocks["intrinsics"][row] = rig.intrinsics_px
    blocks["rig_from_camera"][row] = rig.rig_from_camera
    blocks["world_from_camera"][row] = rig.world_from_camera
    blocks["world_from_rig"][row] = rig.world_from_rig


def _fill_files(blocks: dict[str, np.ndarray], row: int, rig: RigFrames, image: ImageSpec) -> None:
    end = 0
    for view, (pixels, original) in enumerate(zip(rig.images, rig.image_files, strict=True)):
        file = np.frombuffer(encode_jpeg(pixels, original, image), np.uint8)
        start, end = end, end + len(file)
        blocks["image"][row, start:end] = file
        blocks["image_length"][row, view] = len(file)


def _fill_lidar(blocks: dict[str, np.ndarray], row: int, lidar: Sequence[LidarView]) -> None:
    counts = [len(points.depth_m) for points in lidar]
    room, total = blocks["lidar_depth"].shape[-1], sum(counts)
    if total > room:
        raise CacheError(
            f"its cameras see {total} LiDAR points in all, the cache has room for {room}; "
            f"start a new cache with --lidar-points {total}"
        )
    blocks["lidar_uv"][row, :, :total] = np.concatenate([points.uv_px for points in lidar]).T
    blocks["lidar_depth"][row, :total] = np.concatenate([points.depth_m for points in lidar])
    blocks["lidar_count"][row] = counts


def _dense_depth(rig: RigFrames, shape: tuple[int, ...]) -> Float16[np.ndarray, "V H W"]:
    """Rounded to 11 binary digits: the relative error is at most 2⁻¹¹ ≈ 0.05 %."""
    if rig.dense_depth_m is None:
        raise CacheError("has no dense depth, which the cache expects; start a new cache with --no-dense-depth")
    if rig.dense_depth_m.shape != shape:
        raise CacheError(f"has dense depth of shape {rig.dense_depth_m.shape}, the cache expects {shape}")
    with np.errstate(over="ignore"):
        depth_m = rig.dense_depth_m.astype(np.float16)
    return np.where(np.isfinite(depth_m), depth_m, np.float16(0))  # nothing is seen 65 km away


def _text(name: str, room: int) -> np.ndarray:
    encoded = name.encode()
    if len(encoded) > room:
        raise CacheError(f"the name {name!r} takes {len(encoded)} bytes, the cache has room for {room}")
    return np.frombuffer(encoded.ljust(room, b"\x00"), np.uint8)
