"""Reading a cache: `Cache` gives one rig at a time, lazily, and refuses what is not complete.

Readers hold no open file between reads, open their arrays on first use in each process, and are cheap to pickle.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Bool, Float16, Float32, Float64, UInt8

from cache_schema import layout
from cache_schema.arrays import target_arrays
from cache_schema.errors import CacheCorruptError, CacheIncompleteError, CacheMissingError
from cache_schema.frames import LidarView
from cache_schema.images import decode_jpeg
from cache_schema.manifest import Manifest, SplitRecord, TargetSpec, ego_masks_digest
from cache_schema.manifest_file import read_manifest
from cache_schema.store import open_array, read, shard_file

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
    """A teacher's soft targets for one rig, still encoded; `soft_targets.expand` gives the probabilities."""

    encoded: Mapping[str, np.ndarray]
    view_relation: Float16[np.ndarray, "pair T T"]


class Cache:
    """A cache, for reading. Raises CacheMissingError where there is none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)

    def split(self, name: str) -> FrameReader:
        """The frames of a split. Raises CacheMissingError or CacheIncompleteError."""
        record = self._split_record(name)
        if not record.frames_complete:
            raise CacheIncompleteError(_incomplete(self.path, f"split {name}"))
        return FrameReader(self.path / layout.frames_group(name), self.manifest, record)

    def targets(self, split: str, teacher: str) -> TargetReader:
        """A teacher's targets for a split. Raises CacheMissingError (naming the teachers) or CacheIncompleteError."""
        record = self._split_record(split)
        if teacher not in self.manifest.teachers:
            known = ", ".join(self.manifest.teachers) or "none"
            raise CacheMissingError(f"{self.path} has no teacher {teacher!r}; it has: {known}")
        if teacher not in record.teachers_complete:
            raise CacheIncompleteError(_incomplete(self.path, f"teacher {teacher} for split {split}"))
        spec = self.manifest.teachers[teacher].targets
        return TargetReader(self.path / layout.teacher_group(split, teacher), spec, record)

    def _split_record(self, name: str) -> SplitRecord:
        if name not in self.manifest.splits:
            known = ", ".join(self.manifest.splits) or "none"
            raise CacheMissingError(f"{self.path} has no split {name!r}; it has: {known}")
        return self.manifest.splits[name]


class FrameReader(Sequence[CachedRig]):
    """The frames of one complete split."""

    def __init__(self, group: Path, manifest: Manifest, record: SplitRecord) -> None:
        self._arrays = _Arrays(group, record.shard_rigs)
        self._manifest = manifest
        self.record = record

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
            sample=_text(self._arrays.row("sample", i)),
            timestamp=int(self._arrays.row("timestamp", i)),
            images=self.images(i),
            lidar=self.lidar(i),
            intrinsics_px=self._arrays.row("intrinsics", i),
            rig_from_camera=self._arrays.row("rig_from_camera", i),
            world_from_camera=self._arrays.row("world_from_camera", i),
            world_from_rig=self._arrays.row("world_from_rig", i),
            ego_mask=self.ego_mask(i),
        )

    def scene(self, i: int) -> str:
        """Name of the scene of a rig."""
        return _text(self._arrays.row("scene", i))

    def images(self, i: int) -> UInt8[np.ndarray, "V H W 3"]:
        """The images of a rig, decoded."""
        spec = self._manifest.image
        if spec.encoding == "raw":
            return self._arrays.read("image", i)
        lengths = self._arrays.row("image_length", i)
        files = self._arrays.read("image", i, slice(None), slice(0, int(lengths.max())))
        return np.stack(
            [decode_jpeg(file[:length].tobytes(), spec) for file, length in zip(files, lengths, strict=True)]
        )

    def lidar(self, i: int) -> tuple[LidarView, ...]:
        """The LiDAR points of a rig, per camera."""
        counts = self._arrays.row("lidar_count", i)
        fullest = slice(0, int(counts.max()))
        uv = self._arrays.read("lidar_uv", i, slice(None), fullest)
        depth = self._arrays.read("lidar_depth", i, slice(None), fullest)
        return tuple(LidarView(uv[v, :n], depth[v, :n]) for v, n in enumerate(counts))

    def ego_mask(self, i: int) -> Bool[np.ndarray, "V H W"]:
        """False on the own car, per camera."""
        indices = self._arrays.row("ego_mask_index", i)
        everything = np.ones((self._manifest.image.height, self._manifest.image.width), bool)
        return np.stack([self._ego_masks[m] if m >= 0 else everything for m in indices])

    @cached_property
    def _ego_masks(self) -> Bool[np.ndarray, "mask H W"]:
        masks = self._arrays.whole("ego_mask")
        if ego_masks_digest(masks) != self.record.ego_masks_sha256:
            raise CacheCorruptError(f"the ego masks in {self._arrays.group} are lost or damaged; write the cache again")
        return np.asarray(masks != 0)


class TargetReader(Sequence[CachedTargets]):
    """One teacher's targets for one complete split."""

    def __init__(self, group: Path, spec: TargetSpec, record: SplitRecord) -> None:
        self._arrays = _Arrays(group, record.shard_rigs)
        self.spec = spec
        self._rigs = record.rigs

    def __len__(self) -> int:
        return self._rigs

    def __getitem__(self, index: Any) -> Any:
        """One rig's targets, or a list of them for a slice. Raises CacheCorruptError where bytes are damaged."""
        if isinstance(index, slice):
            return [self._targets(i) for i in range(*index.indices(len(self)))]
        return self._targets(_checked_index(index, len(self)))

    def _targets(self, i: int) -> CachedTargets:
        arrays = {array.name: self._arrays.read(array.name, i) for array in target_arrays(self.spec)}
        return CachedTargets(view_relation=arrays.pop("view_relation"), encoded=arrays)


class _Arrays:
    """The arrays of one group, opened on first use in each process."""

    def __init__(self, group: Path, shard_rigs: int) -> None:
        self.group = group
        self._shard_rigs = shard_rigs
        self._opened: dict[str, zarr.Array[Any]] = {}
        self._blocks: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._seen: set[Path] = set()

    def read(self, name: str, i: int, *selection: Any) -> np.ndarray:
        """One rig's entry, or part of it, of an array that is chunked by rig."""
        return read(self._present(name, i), (i, *selection))

    def row(self, name: str, i: int) -> np.ndarray:
        """One rig's entry of a small array, whose chunks span a shard: the last chunks read are kept."""
        shard = i // self._shard_rigs
        if (name, shard) not in self._blocks:
            start = shard * self._shard_rigs
            self._blocks[name, shard] = read(self._present(name, i), slice(start, start + self._shard_rigs))
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        return np.asarray(self._blocks[name, shard][i % self._shard_rigs])

    def whole(self, name: str) -> np.ndarray:
        """An array that has no rigs."""
        return read(self._open(name), slice(None))

    def _open(self, name: str) -> zarr.Array[Any]:
        if name not in self._opened:
            self._opened[name] = open_array(self.group, name)
        return self._opened[name]

    def _present(self, name: str, i: int) -> zarr.Array[Any]:
        """The array, once it is known that the shard of rig i exists: zarr reads a lost shard as fill values."""
        array = self._open(name)
        file = self.group / shard_file(name, array.ndim, i // self._shard_rigs)
        if file not in self._seen:
            if not file.exists():
                raise CacheCorruptError(f"{file} is lost; run stage 1 again to restore it")
            self._seen.add(file)
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_blocks": OrderedDict(), "_seen": set()}


def _checked_index(index: int, length: int) -> int:
    position = index + length if index < 0 else index
    if not 0 <= position < length:
        raise IndexError(f"rig {index} of {length}")
    return int(position)


def _text(stored: np.ndarray) -> str:
    return bytes(stored).rstrip(b"\x00").decode()


def _incomplete(path: Path, what: str) -> str:
    return f"{what} in {path} is not complete; finish it with: fsmde cache-teacher … --cache {path} (it resumes)"
