"""A small complete cache with known contents, for tests that need one and no dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from cache_schema import (
    LIDAR_CHUNK_POINTS,
    BinSpec,
    CacheWriter,
    DatasetIdentity,
    ImageSpec,
    SplitRecord,
    TargetSpec,
    TeacherIdentity,
    TeacherKind,
    TeacherRecord,
    samples_digest,
)
from cache_schema.frames import LidarView, RigFrames, empty_frames, put_rig
from cache_schema.soft_targets import Moments, certain_spread, encode

CAMERAS = ("FRONT", "LEFT", "REAR", "RIGHT")
PAIRS = ((0, 1), (1, 2), (2, 3), (3, 0))
NATIVE = (128, 192)
TEXT_BYTES = 16
EGO_MASK_INDEX = np.array([-1, 0, -1, -1], np.int16)

Location = TypeVar("Location", str, Path)


def dataset(name: str = "tiny") -> DatasetIdentity:
    return DatasetIdentity(name=name, version="1", cameras=CAMERAS, adjacent_pairs=PAIRS, native_size=NATIVE)


def teacher_identity() -> TeacherIdentity:
    """Nobody: a teacher that made no targets but these."""
    return TeacherIdentity(
        id="tiny",
        revision=None,
        weights_sha256="0" * 64,
        architecture="None",
        kind=TeacherKind.DISPARITY_AFFINE_INVARIANT,
        processor={},
        flip=False,
        scales=(1.0,),
    )


def teacher_record(
    size_hw: tuple[int, int], kind: TeacherKind = TeacherKind.DISPARITY_AFFINE_INVARIANT, **targets: object
) -> TeacherRecord:
    spec = {
        "height": size_hw[0] // 4,
        "width": size_hw[1] // 4,
        "bins": BinSpec(count=16, spacing="uniform"),
        "token_grid": (2, 3),
    }
    identity = teacher_identity().model_copy(update={"kind": kind})
    return TeacherRecord(identity=identity, targets=TargetSpec.model_validate(spec | targets))


def split_record(rigs: int, shard_rigs: int = 4, *, dense_depth: bool = False) -> SplitRecord:
    samples = [sample_name(i) for i in range(rigs)]
    return SplitRecord(
        rigs=rigs,
        samples_sha256=samples_digest(samples),
        shard_rigs=shard_rigs,
        lidar_points=LIDAR_CHUNK_POINTS,
        text_bytes=TEXT_BYTES,
        dense_depth=dense_depth,
    )


def sample_name(rig: int) -> tuple[str, str]:
    return f"scene_{rig // 3:02d}", f"{rig % 3:06d}"


def depth_of(rig: int, hw: tuple[int, int]) -> np.ndarray:
    """A smooth depth map (V, H, W) in metres that differs per rig and view: near below, far above."""
    v, u = np.meshgrid(np.linspace(0, 1, hw[0]), np.linspace(0, 1, hw[1]), indexing="ij")
    views = [4 + 40 * (1 - v) ** 2 + 6 * np.sin(3 * u + view + rig) ** 2 for view in range(len(CAMERAS))]
    return np.stack(views)


def rig_frames(rig: int, image: ImageSpec) -> RigFrames:
    rng = np.random.default_rng(rig)
    depth = depth_of(rig, (image.height, image.width))
    shade = (255 * 4 / depth)[..., None] * np.array([1.0, 0.8, 0.6])
    images = (shade + rng.normal(0, 4, shade.shape)).clip(0, 255).astype(np.uint8)
    pixels = np.sort(rng.choice(NATIVE[0] * NATIVE[1], size=600, replace=False))
    uv = np.stack([pixels % NATIVE[1], pixels // NATIVE[1]], axis=1).astype(np.uint16)
    native = depth_of(rig, NATIVE)
    scene, sample = sample_name(rig)
    poses = np.tile(np.eye(4), (len(CAMERAS), 1, 1))
    return RigFrames(
        scene=scene,
        sample=sample,
        timestamp=1000 + rig,
        images=tuple(images),
        image_files=(b"",) * len(CAMERAS),
        lidar=tuple(LidarView(uv, native[v][uv[:, 1], uv[:, 0]].astype(np.float32)) for v in range(len(CAMERAS))),
        intrinsics_px=np.tile(np.array([[80, 0, 96], [0, 80, 64], [0, 0, 1]], np.float32), (len(CAMERAS), 1, 1)),
        rig_from_camera=poses,
        world_from_camera=poses,
        world_from_rig=np.eye(4),
        dense_depth_m=native.astype(np.float32),
    )


def targets_of(rig: int, spec: TargetSpec) -> Moments:
    """What a perfect teacher would say: u from the true disparity of every view."""
    disparity = 1 / depth_of(rig, (spec.height, spec.width))
    low, span = (each[:, :1, None] for each in raw_scale_of(rig, spec, np.float64))
    u = (disparity - low) / span
    return Moments(u, certain_spread(u, spec.bins))


def raw_scale_of(rig: int, spec: TargetSpec, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Low and span (V, P) of the true disparity, in 1/m, the same in all test-time views."""
    disparity = 1 / depth_of(rig, (spec.height, spec.width))
    low, high = disparity.min(axis=(1, 2)), disparity.max(axis=(1, 2))
    views = (1, max(spec.test_time_views, 1))
    return np.tile(low[:, None], views).astype(dtype), np.tile((high - low)[:, None], views).astype(dtype)


def relation_of(rig: int, spec: TargetSpec) -> np.ndarray:
    tokens = spec.token_grid[0] * spec.token_grid[1]
    return np.random.default_rng(rig).uniform(-1, 1, (len(PAIRS), tokens, tokens)).astype(np.float16)


def feature_of(rig: int, spec: TargetSpec) -> np.ndarray:
    size = (len(CAMERAS), spec.token_grid[0] * spec.token_grid[1], spec.feature_channels)
    return np.random.default_rng(rig).normal(size=size).astype(np.float16)


def ego_masks(image: ImageSpec) -> np.ndarray:
    mask = np.ones((1, image.height, image.width), np.uint8)
    mask[:, -image.height // 8 :, : image.width // 3] = 0
    return mask


def write_tiny_cache(
    path: Location,
    *,
    rigs: int = 6,
    teacher: bool = True,
    size_hw: tuple[int, int] = (64, 96),
    image_encoding: str = "jpeg",
    splits: tuple[str, ...] = ("train", "val"),
    lidar_of: tuple[str, ...] | None = None,
    dense_depth: bool = False,
    scale: Sequence[float] = (1, 1, 1, 1),
    **targets: object,
) -> Location:
    """Write a cache of `rigs` rigs per split, with a perfect teacher named `tiny` unless told otherwise.

    `path` is a folder or a URL. Splits that are not in `lidar_of` have no point. The teacher's raw disparity, where it
    is stored, is the true one of each view times its `scale`.
    """
    image = ImageSpec.model_validate({"height": size_hw[0], "width": size_hw[1], "encoding": image_encoding})
    split_of = split_record(rigs, dense_depth=dense_depth)
    with CacheWriter(path, dataset(), image, code_version="test") as writer:
        for split in splits:
            frames = writer.add_split(split, split_of, ego_masks(image))
            for shard in frames.pending():
                blocks = empty_frames(shard.stop - shard.start, dataset(), image, split_of)
                for row, rig in enumerate(range(shard.start, shard.stop)):
                    frames_of_rig = rig_frames(rig, image)
                    if lidar_of is not None and split not in lidar_of:
                        nothing = LidarView(np.zeros((0, 2), np.uint16), np.zeros(0, np.float32))
                        frames_of_rig = replace(frames_of_rig, lidar=(nothing,) * len(CAMERAS))
                    put_rig(blocks, row, frames_of_rig, EGO_MASK_INDEX, image)
                frames.write(shard, blocks)
            writer.complete_split(split, frames)
            if not teacher:
                continue
            record = teacher_record(size_hw, **targets)
            soft = writer.add_teacher(split, "tiny", record)
            raw = ("disparity_low", "disparity_span") if record.targets.test_time_views else ()
            factor = np.array(scale, np.float32)[:, None]
            for shard in soft.pending():
                rows = [
                    {
                        **encode(targets_of(rig, record.targets), record.targets),
                        "view_relation": relation_of(rig, record.targets),
                        **({"feature": feature_of(rig, record.targets)} if record.targets.feature_channels else {}),
                        **{
                            name: each * factor
                            for name, each in zip(raw, raw_scale_of(rig, record.targets), strict=bool(raw))
                        },
                    }
                    for rig in range(shard.start, shard.stop)
                ]
                soft.write(shard, {name: np.stack([row[name] for row in rows]) for name in rows[0]})
            writer.complete_teacher(split, "tiny", soft)
    return path
