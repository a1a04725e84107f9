"""Whole training samples to measure reading with: real images and LiDAR, every rig different, cheap targets.

The few real rigs are seen through windows that move, so that no file repeats and no compressor finds a rig twice.
The targets are maps of the image's brightness with the contours and the noise that give them the size of a
teacher's: 0.18 MB per rig, where Depth Anything V2 Small with random weights takes 0.19 and needs half a minute.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from cache_schema import (
    LIDAR_CHUNK_POINTS,
    CachedRig,
    CachedTargets,
    CacheWriter,
    DatasetIdentity,
    ImageSpec,
    LidarView,
    RigFrames,
    SplitRecord,
    TargetSpec,
    TeacherRecord,
    empty_frames,
    put_rig,
    samples_digest,
)
from cache_schema.arrays import whole_chunks
from cache_schema.images import decode_jpeg, encode_jpeg
from cache_schema.soft_targets import Moments, certain_spread, encode
from tests.tiny_cache import teacher_identity

SHARD_RIGS = 16
IMAGE = ImageSpec()
TARGETS = TargetSpec(height=96, width=160)
WINDOW = 0.9  # of the width and of the height of the native image
Sample = tuple[CachedRig, CachedTargets]
Value = bytes | np.ndarray | str | int
Record = Mapping[str, Value]
Decode = Callable[[bytes, np.ndarray], object]
"""Puts the pixels of a JPEG file into an array."""


@dataclass(frozen=True)
class Rig:
    """One rig as every format stores it: the files of its images, its frames, and its encoded targets."""

    native_size: tuple[int, int]
    files: tuple[bytes, ...]
    frames: RigFrames
    targets: Mapping[str, np.ndarray]
    view_relation: np.ndarray

    def record(self) -> Record:
        """The rig as a flat record; each camera's points follow those of the one before."""
        frames = self.frames
        return {
            **{f"image_{view}": file for view, file in enumerate(self.files)},
            **self.targets,
            "view_relation": self.view_relation,
            "lidar_uv": np.concatenate([view.uv_px for view in frames.lidar]).T.copy(),
            "lidar_depth": np.concatenate([view.depth_m for view in frames.lidar]),
            "lidar_count": np.array([len(view.depth_m) for view in frames.lidar], np.int32),
            "intrinsics": frames.intrinsics_px,
            "rig_from_camera": frames.rig_from_camera,
            "world_from_camera": frames.world_from_camera,
            "world_from_rig": frames.world_from_rig,
            "ego_mask_index": ego_mask_index(len(self.files)),
            "timestamp": frames.timestamp,
            "scene": frames.scene,
            "sample": frames.sample,
        }


def ego_mask_index(views: int) -> np.ndarray:
    return np.arange(views, dtype=np.int16)


def ego_masks(views: int) -> np.ndarray:
    """A mask per camera, 0 on an own car at the bottom."""
    masks = np.ones((views, IMAGE.height, IMAGE.width), np.uint8)
    for view, mask in enumerate(masks):
        mask[-20 - 5 * view :, 100:-100] = 0
    return masks


def with_simplejpeg(file: bytes, image: np.ndarray) -> None:
    """As the cache does it."""
    decode_jpeg(file, IMAGE, out=image)


def with_pillow(file: bytes, image: np.ndarray) -> None:
    image[:] = np.asarray(Image.open(io.BytesIO(file)))


def decoded(files: Sequence[bytes], decode: Decode) -> np.ndarray:
    images = np.empty((len(files), IMAGE.height, IMAGE.width, 3), np.uint8)
    for file, image in zip(files, images, strict=True):
        decode(file, image)
    return images


def sample_of(record: Record, decode: Decode) -> Sample:
    """The training sample in a record, equal to what the cache hands out."""
    index = record["ego_mask_index"]
    images = decoded([record[f"image_{view}"] for view in range(len(index))], decode)
    ends = np.cumsum(record["lidar_count"])[:-1]
    points = zip(np.split(record["lidar_uv"].T, ends), np.split(record["lidar_depth"], ends), strict=True)
    rig = CachedRig(
        scene=record["scene"],
        sample=record["sample"],
        timestamp=int(record["timestamp"]),
        images=images,
        lidar=tuple(LidarView(uv, depth) for uv, depth in points),
        intrinsics_px=record["intrinsics"],
        rig_from_camera=record["rig_from_camera"],
        world_from_camera=record["world_from_camera"],
        world_from_rig=record["world_from_rig"],
        ego_mask=_worlds(tuple(index.tolist())),
    )
    encoded = {name: record[name] for name in ("bin_mean", "bin_spread")}
    return rig, CachedTargets(encoded=encoded, view_relation=record["view_relation"])


@cache
def _worlds(index: tuple[int, ...]) -> np.ndarray:
    """Ego masks of a rig; rigs of the same cameras share them."""
    return ego_masks(len(index))[list(index)] != 0


def make_rigs(real: Sequence[RigFrames], count: int) -> list[Rig]:
    return [_rig(real[i % len(real)], i) for i in range(count)]


def write_cache(path: Path, rigs: Sequence[Rig]) -> None:
    """The rigs as split `train` with targets of a teacher `t`."""
    views = len(rigs[0].files)
    ring = tuple((view, (view + 1) % views) for view in range(views))
    cameras = tuple(f"camera_{view}" for view in range(views))
    dataset = DatasetIdentity(
        name="bench", version="1", cameras=cameras, adjacent_pairs=ring, native_size=rigs[0].native_size
    )
    points = max(sum(len(view.depth_m) for view in rig.frames.lidar) for rig in rigs)
    split = SplitRecord(
        rigs=len(rigs),
        samples_sha256=samples_digest((rig.frames.scene, rig.frames.sample) for rig in rigs),
        shard_rigs=SHARD_RIGS,
        lidar_points=whole_chunks(points, LIDAR_CHUNK_POINTS),
        text_bytes=max(len(text.encode()) for rig in rigs for text in (rig.frames.scene, rig.frames.sample)),
    )
    with CacheWriter(path, dataset, IMAGE, code_version="bench") as writer:
        frames = writer.add_split("train", split, ego_masks(views))
        teacher = writer.add_teacher("train", "t", TeacherRecord(identity=teacher_identity(), targets=TARGETS))
        for shard in frames.pending():
            members = rigs[shard.start : shard.stop]
            blocks = empty_frames(len(members), dataset, IMAGE, split)
            for row, rig in enumerate(members):
                put_rig(blocks, row, rig.frames, ego_mask_index(views), IMAGE)
            frames.write(shard, blocks)
            targets = [{**rig.targets, "view_relation": rig.view_relation} for rig in members]
            teacher.write(shard, {name: np.stack([row[name] for row in targets]) for name in targets[0]})
        writer.complete_split("train", frames)
        writer.complete_teacher("train", "t", teacher)


def _rig(real: RigFrames, i: int) -> Rig:
    random = np.random.default_rng(i)
    files = tuple(encode_jpeg(_window(image, random), b"", IMAGE) for image in real.images)
    images = tuple(decode_jpeg(file, IMAGE) for file in files)
    frames = RigFrames(
        scene=f"{real.scene}_{i:03d}",
        sample=f"{i:06d}",
        timestamp=real.timestamp + i,
        images=images,
        image_files=files,  # of the right size already, so that the cache keeps their bytes
        lidar=tuple(_thinned(view, random) for view in real.lidar),
        intrinsics_px=real.intrinsics_px,
        rig_from_camera=real.rig_from_camera,
        world_from_camera=real.world_from_camera,
        world_from_rig=real.world_from_rig,
    )
    return Rig(real.images[0].shape[:2], files, frames, _targets(images, random), _relation(len(images), random))


def _window(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    left, top = random.uniform(0, 1 - WINDOW, 2) * (width, height)
    box = (left, top, left + WINDOW * width, top + WINDOW * height)
    resized = Image.fromarray(image).resize((IMAGE.width, IMAGE.height), Image.Resampling.LANCZOS, box)
    return np.asarray(resized)


def _thinned(view: LidarView, random: np.random.Generator) -> LidarView:
    kept = random.random(len(view.depth_m)) < 0.98
    depth = view.depth_m[kept] * np.float32(random.uniform(0.9, 1.1))
    return LidarView(view.uv_px[kept], depth)


def _targets(images: Sequence[np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    size = (TARGETS.width, TARGETS.height)
    grey = [Image.fromarray(image).convert("L").resize(size).filter(ImageFilter.GaussianBlur(1)) for image in images]
    u = np.stack([np.asarray(view, np.float64) / 255 for view in grey])
    u = np.clip(u + random.normal(0, 0.004, u.shape), 0, 1)
    edges = np.hypot(*np.gradient(u, axis=(1, 2)))
    doubt = np.exp(8 * edges + random.normal(0, 0.12, u.shape))
    return encode(Moments(u, certain_spread(u, TARGETS.bins) * doubt), TARGETS)


def _relation(views: int, random: np.random.Generator) -> np.ndarray:
    tokens = TARGETS.token_grid[0] * TARGETS.token_grid[1]
    unit = random.normal(size=(views, tokens, 32)) + 1
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    return np.stack([unit[view] @ unit[(view + 1) % views].T for view in range(views)]).astype(np.float16)
