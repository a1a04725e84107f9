"""Reading a cache: `Cache` gives one rig at a time, lazily, and refuses what is not complete.

Readers hold no open file between reads, open their arrays on first use in each process, and are cheap to pickle.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, Int32, UInt8, UInt32

from cache_schema.arrays import DENSE_DEPTH, DISPARITY_LOW, DISPARITY_SPAN, EGO_MASK, FEATURE, RAW_SCALE, VIEW_RELATION
from cache_schema.errors import CacheCorruptError, CacheIncompleteError, CacheMissingError
from cache_schema.frames import LidarView
from cache_schema.groups import Group, frames_of, targets_of
from cache_schema.images import decode_jpeg
from cache_schema.manifest import Manifest, SplitRecord, ego_masks_digest, no_ego_masks
from cache_schema.manifest_file import read_manifest
from cache_schema.shards import ShardedArray
from cache_schema.storage import Storage, open_storage

_KEPT_BLOCKS = 256
"""Chunks of small arrays kept in memory by a reader; some 10 kB each."""


@dataclass(frozen=True)
class CachedRig:
    """One rig as stage 1 stored it; V cameras in ring order, images at the cache's size, K in native pixels.

    `ego_mask` is False on the own car.
    """

    scene: str
    sample: str
    timestamp: int
    images: UInt8[np.ndarray, "V H W 3"]
    lidar: tuple[LidarView, ...]
    intrinsics_px: Float32[np.ndarray, "V 3 3"]
    rig_from_camera: Float64[np.ndarray, "V 4 4"]
    world_from_camera: Float64[np.ndarray, "V 4 4"]
    world_from_rig: Float64[np.ndarray, "4 4"]
    ego_mask: Bool[np.ndarray, "V H W"]


@dataclass(frozen=True)
class CachedTargets:
    """A teacher's soft targets for one rig, still encoded; `soft_targets.expand` gives the probabilities.

    `feature` holds the teacher's tokens, where they are asked for. `disparity_low` and `disparity_span` hold the raw
    scale, where it is asked for: in each of P test-time views the teacher's disparity is low + u · span, in 1/m where
    the teacher is metric; both are 0 where it says nothing about the view.
    """

    encoded: Mapping[str, np.ndarray]
    view_relation: Float16[np.ndarray, "pair T T"]
    feature: Float16[np.ndarray, "V T C"] | None = None
    disparity_low: Float32[np.ndarray, "V P"] | None = None
    disparity_span: Float32[np.ndarray, "V P"] | None = None


class Cache:
    """A cache, for reading: a folder, or a URL such as s3://bucket/prefix.

    Raises CacheMissingError where there is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.storage = open_storage(path)
        self.manifest: Manifest = read_manifest(self.storage)

    @property
    def location(self) -> str:
        """The folder or URL."""
        return self.storage.location

    def split(self, name: str) -> FrameReader:
        """The frames of a split. Raises CacheMissingError or CacheIncompleteError."""
        record = self.split_record(name)
        if not record.frames_complete:
            raise CacheIncompleteError(_incomplete(self.location, f"split {name}"))
        return FrameReader(self.storage, self.manifest, name)

    def targets(self, split: str, teacher: str, *, features: bool = False, raw_scale: bool = False) -> TargetReader:
        """A teacher's targets for a split, with its `features` if asked: they are more bytes than all the rest.

        With `raw_scale` also how the disparity of each view was before it was normalised. Raises CacheMissingError
        (naming the teachers there are, or what is not stored of this one) or CacheIncompleteError.
        """
        record = self.split_record(split)
        if teacher not in self.manifest.teachers:
            known = ", ".join(self.manifest.teachers) or "none"
            raise CacheMissingError(f"{self.location} has no teacher {teacher!r}; it has: {known}")
        if features and not self.manifest.teachers[teacher].targets.feature_channels:
            raise CacheMissingError(
                f"{self.location} has no features of teacher {teacher}; cache it once more, with --overwrite or another"
                " --teacher-name: fsmde cache-teacher … --set targets.features=true"
            )
        if raw_scale and not self.manifest.teachers[teacher].targets.test_time_views:
            raise CacheMissingError(
                f"{self.location} has no raw scale of teacher {teacher}, whose targets were made before fsmde kept it;"
                " make them once more, with --overwrite or another --teacher-name: fsmde cache-teacher … --overwrite"
            )
        if teacher not in record.teachers_complete:
            raise CacheIncompleteError(_incomplete(self.location, f"teacher {teacher} for split {split}"))
        return TargetReader(self.storage, self.manifest, split, teacher, features=features, raw_scale=raw_scale)

    def split_record(self, name: str) -> SplitRecord:
        """What the manifest says of a split, be it complete or not. Raises CacheMissingError for a name it lacks."""
        if name not in self.manifest.splits:
            known = ", ".join(self.manifest.splits) or "none"
            raise CacheMissingError(f"{self.location} has no split {name!r}; it has: {known}")
        return self.manifest.splits[name]


class FrameReader(Sequence[CachedRig]):
    """The frames of one complete split."""

    def __init__(self, storage: Storage, manifest: Manifest, split: str) -> None:
        self._arrays = _Arrays(storage, frames_of(manifest, split))
        self._manifest = manifest
        self.record = manifest.splits[split]
        self._shared_masks: dict[tuple[int, ...], np.ndarray] = {}

    def __len__(self) -> int:
        return self.record.rigs

    def __getitem__(self, index: Any) -> Any:
        """One rig, or a list of rigs for a slice. Raises CacheCorruptError where stored bytes are damaged."""
        if isinstance(index, slice):
            return [self._rig(i) for i in range(*index.indices(len(self)))]
        return self._rig(_checked_index(index, len(self)))

    def _rig(self, i: int) -> CachedRig:
        return CachedRig(
            scene=self.scene(i),
            sample=self.sample(i),
            timestamp=int(self._arrays.row("timestamp", i)),
            images=self.images(i),
            lidar=self.lidar(i),
            intrinsics_px=self.intrinsics_px(i),
            rig_from_camera=self.rig_from_camera(i),
            world_from_camera=self._arrays.row("world_from_camera", i),
            world_from_rig=self._arrays.row("world_from_rig", i),
            ego_mask=self.ego_mask(i),
        )

    def scene(self, i: int) -> str:
        """Name of the scene of a rig."""
        return _text(self._arrays.row("scene", i))

    def sample(self, i: int) -> str:
        """Name of a rig in its scene."""
        return _text(self._arrays.row("sample", i))

    def image_lengths(self, i: int) -> UInt32[np.ndarray, "V"] | None:
        """Bytes of each JPEG of a rig; None where images are stored raw."""
        return None if self._manifest.image.encoding == "raw" else self._arrays.row("image_length", i)

    def intrinsics_px(self, i: int) -> Float32[np.ndarray, "V 3 3"]:
        """K of each camera of a rig, in native pixels."""
        return self._arrays.row("intrinsics", i)

    def rig_from_camera(self, i: int) -> Float64[np.ndarray, "V 4 4"]:
        """Pose of each camera of a rig in its vehicle."""
        return self._arrays.row("rig_from_camera", i)

    def images(self, i: int) -> UInt8[np.ndarray, "V H W 3"]:
        """The images of a rig, decoded."""
        spec = self._manifest.image
        if spec.encoding == "raw":
            return self._arrays.rig("image", i)
        ends = np.cumsum(self._arrays.row("image_length", i)).tolist()
        files = self._arrays.rig("image", i, ends[-1]).data
        images = np.empty((len(ends), spec.height, spec.width, 3), np.uint8)
        for image, (start, end) in zip(images, pairwise([0, *ends]), strict=True):
            decode_jpeg(files[start:end], spec, out=image)
        return images

    def lidar_count(self, i: int) -> Int32[np.ndarray, "V"]:
        """How many LiDAR points each camera of a rig sees."""
        return self._arrays.row("lidar_count", i)

    def lidar(self, i: int) -> tuple[LidarView, ...]:
        """The LiDAR points of a rig, per camera."""
        ends = np.cumsum(self.lidar_count(i)).tolist()
        uv = self._arrays.rig("lidar_uv", i, ends[-1]).T
        depth = self._arrays.rig("lidar_depth", i, ends[-1])
        return tuple(LidarView(uv[start:end], depth[start:end]) for start, end in pairwise([0, *ends]))

    def dense_depth(self, i: int) -> Float32[np.ndarray, "V H W"]:
        """Depth in metres at every native pixel of a rig, 0 where there is none; no part of `CachedRig`.

        Raises CacheMissingError where the split has none: `record.dense_depth` tells.
        """
        if not self.record.dense_depth:
            raise CacheMissingError(f"{self._arrays.place} has no dense depth; its dataset had none when it was cached")
        return self._arrays.rig(DENSE_DEPTH.name, i).astype(np.float32)

    def ego_mask(self, i: int) -> Bool[np.ndarray, "V H W"]:
        """False on the own car, per camera; read only, since the rigs of a car share it."""
        indices = self._arrays.row("ego_mask_index", i)
        return self._ego_mask_of(tuple(indices.tolist()))

    def _ego_mask_of(self, indices: tuple[int, ...]) -> Bool[np.ndarray, "V H W"]:
        if indices not in self._shared_masks:
            everything = np.ones((self._manifest.image.height, self._manifest.image.width), bool)
            mask = np.stack([self._ego_masks[m] if m >= 0 else everything for m in indices])
            mask.setflags(write=False)
            self._shared_masks[indices] = mask
        return self._shared_masks[indices]

    @cached_property
    def _ego_masks(self) -> Bool[np.ndarray, "mask H W"]:
        masks = self._arrays.whole(EGO_MASK.name) if self.record.ego_masks else no_ego_masks(self._manifest.image)
        if ego_masks_digest(masks) != self.record.ego_masks_sha256:
            raise CacheCorruptError(
                f"the ego masks in {self._arrays.place} are lost or damaged; mend them with: fsmde verify --repair"
            )
        return np.asarray(masks != 0)


class TargetReader(Sequence[CachedTargets]):
    """One teacher's targets for one complete split."""

    def __init__(
        self,
        storage: Storage,
        manifest: Manifest,
        split: str,
        teacher: str,
        *,
        features: bool = False,
        raw_scale: bool = False,
    ) -> None:
        self._arrays = _Arrays(storage, targets_of(manifest, split, teacher))
        left_out = {array.name for array in (*RAW_SCALE, *(() if features else (FEATURE,)))}
        self._read = tuple(name for name in self._arrays.names if name not in left_out)
        self._raw_scale = raw_scale
        self.spec = manifest.teachers[teacher].targets
        self._rigs = manifest.splits[split].rigs

    def __len__(self) -> int:
        return self._rigs

    def __getitem__(self, index: Any) -> Any:
        """One rig's targets, or a list of them for a slice. Raises CacheCorruptError where bytes are damaged."""
        if isinstance(index, slice):
            return [self._targets(i) for i in range(*index.indices(len(self)))]
        return self._targets(_checked_index(index, len(self)))

    def _targets(self, i: int) -> CachedTargets:
        arrays = {name: self._arrays.rig(name, i) for name in self._read}
        tokens = self.spec.token_grid[0] * self.spec.token_grid[1]
        no_pairs = np.zeros((0, tokens, tokens), np.float16)
        return CachedTargets(
            view_relation=arrays.pop(VIEW_RELATION.name, no_pairs),
            feature=arrays.pop(FEATURE.name, None),
            encoded=arrays,
            disparity_low=self._arrays.row(DISPARITY_LOW.name, i) if self._raw_scale else None,
            disparity_span=self._arrays.row(DISPARITY_SPAN.name, i) if self._raw_scale else None,
        )


class _Arrays:
    """The arrays of one group, opened on first use in each process."""

    def __init__(self, storage: Storage, group: Group) -> None:
        self._storage = storage
        self._group = group
        self.names = tuple(array.name for array in group.arrays)
        self._specs = {array.name: array for array in (*group.arrays, *group.whole_arrays)}
        self._opened: dict[str, ShardedArray] = {}
        self._blocks: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()

    @property
    def place(self) -> str:
        """How messages name the group."""
        return self._storage.path(self._group.path)

    def rig(self, name: str, i: int, length: int | None = None) -> np.ndarray:
        """One rig's entry of an array that is chunked by rig; of a ragged one the first `length` of the last axis."""
        return self._open(name).rig(i, length)

    def row(self, name: str, i: int) -> np.ndarray:
        """One rig's entry of a small array, whose chunks span a shard: the last chunks read are kept."""
        shard, row = divmod(i, self._group.record.shard_rigs)
        if (name, shard) not in self._blocks:
            self._blocks[name, shard] = self._open(name).block(shard)
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return np.asarray(self._blocks[name, shard][row])

    def whole(self, name: str) -> np.ndarray:
        """An array that has no rigs."""
        return self._open(name).block()

    def _open(self, name: str) -> ShardedArray:
        if name not in self._opened:
            self._opened[name] = ShardedArray(self._storage, self._group, self._specs[name])
        return self._opened[name]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_blocks": OrderedDict()}


def _checked_index(index: int, length: int) -> int:
    position = index + length if index < 0 else index
    if not 0 <= position < length:
        raise IndexError(f"rig {index} of {length}")
    return int(position)


def _text(stored: np.ndarray) -> str:
    return bytes(stored).rstrip(b"\x00").decode()


def _incomplete(location: str, what: str) -> str:
    return (
        f"{what} in {location} is not complete; finish it with: fsmde cache-teacher … --cache {location} (it resumes)"
    )
