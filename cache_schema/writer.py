"""Writing a cache: `CacheWriter` owns the manifest, `GroupWriter` writes the shards of one group of arrays.

A shard is written array by array, flushed, read back and compared, and only then entered in the journal.
A split or a teacher is marked complete, and only then readable, when the journal holds all its shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import zarr

from cache_schema import layout
from cache_schema.agreement import refuse_difference, refuse_other_split, stored_manifest
from cache_schema.arrays import (
    EGO_MASK,
    ArraySpec,
    frame_arrays,
    frame_sizes,
    target_arrays,
    target_sizes,
)
from cache_schema.durable import sha256_of, sweep, sync_file, sync_folder
from cache_schema.errors import CacheError, CacheIncompleteError, CacheMismatchError
from cache_schema.journal import Journal, ShardRecord
from cache_schema.lock import only_writer
from cache_schema.manifest import (
    DatasetIdentity,
    ImageSpec,
    Manifest,
    SplitRecord,
    TargetSpec,
    TeacherRecord,
    ego_masks_digest,
    record_digest,
)
from cache_schema.manifest_file import consolidate, write_manifest
from cache_schema.soft_targets import mean_codes, spread_limits
from cache_schema.store import create_array, open_array, read, shard_file


@dataclass(frozen=True)
class Shard:
    """Rigs [start, stop) of a split: the unit of work, of writing and of resuming."""

    index: int
    start: int
    stop: int


def shards_of(split: SplitRecord) -> list[Shard]:
    """All shards of a split, in order."""
    size = split.shard_rigs
    return [
        Shard(index, start, min(start + size, split.rigs)) for index, start in enumerate(range(0, split.rigs, size))
    ]


@dataclass(frozen=True)
class GroupWriter:
    """Writes the shards of one group of arrays. Cheap to pickle; several may write different shards at once."""

    cache: Path
    group: str
    arrays: tuple[ArraySpec, ...]
    shards: tuple[Shard, ...]
    config_sha256: str

    def pending(self) -> list[Shard]:
        """The shards the journal does not hold, or whose files are lost.

        Raises CacheMismatchError on one made by another configuration.
        """
        done = self._journal().read()
        for record in done.values():
            if record.config_sha256 != self.config_sha256:
                raise CacheMismatchError(
                    f"shard {record.shard} of {self.group} in {self.cache} was made with other settings; "
                    "use another --cache folder"
                )
        return [shard for shard in self.shards if shard.index not in done or self._lost(done[shard.index])]

    def write(self, shard: Shard, blocks: Mapping[str, np.ndarray]) -> ShardRecord:
        """Write one shard durably and enter it in the journal.

        `blocks` holds, per array of the group, the values of rigs [start, stop). Raises CacheError where a
        block does not fit its array, or where what was read back is not what was written.
        """
        self._check_names(blocks)
        for array in self.arrays:
            self._write_array(array, shard, blocks[array.name])
        record = self._record(shard)
        self._journal().append(record)
        return record

    def _lost(self, record: ShardRecord) -> bool:
        return not all((self._folder / file).exists() for file in record.files)

    @property
    def _folder(self) -> Path:
        return self.cache / self.group

    def _journal(self) -> Journal:
        return Journal(layout.journal_folder(self.cache, self.group))

    def _check_names(self, blocks: Mapping[str, np.ndarray]) -> None:
        expected = {array.name for array in self.arrays}
        if set(blocks) != expected:
            raise CacheError(f"{self.group} expects the arrays {sorted(expected)}, got {sorted(blocks)}")

    def _write_array(self, spec: ArraySpec, shard: Shard, block: np.ndarray) -> None:
        file = self._folder / shard_file(spec.name, len(spec.axes), shard.index)
        file.unlink(missing_ok=True)  # of an interrupted run: zarr would read it to keep what is not overwritten
        array = open_array(self._folder, spec.name, writable=True)
        expected = (shard.stop - shard.start, *array.shape[1:])
        if block.shape != expected or block.dtype != array.dtype:
            raise CacheError(
                f"{self.group}/{spec.name} rigs {shard.start}..{shard.stop}: got {block.dtype} {block.shape}, "
                f"expected {array.dtype} {expected}"
            )
        array[shard.start : shard.stop] = block
        sync_file(file)
        _sync_up_to(file.parent, self._folder)
        stored = read(array, slice(shard.start, shard.stop))
        if stored.tobytes() != block.tobytes():
            raise CacheError(f"{file} does not read back as it was written; check the disk and run stage 1 again")

    def _record(self, shard: Shard) -> ShardRecord:
        files = {
            name: self._folder / name for name in (shard_file(a.name, len(a.axes), shard.index) for a in self.arrays)
        }
        return ShardRecord(
            shard=shard.index,
            start=shard.start,
            stop=shard.stop,
            config_sha256=self.config_sha256,
            files={name: sha256_of(path) for name, path in files.items()},
            bytes=sum(path.stat().st_size for path in files.values()),
        )


class CacheWriter:
    """The one process that may change a cache. Use as a context manager; it holds the cache's lock.

    Raises CacheLockedError where another process writes, CacheMismatchError where the folder already holds
    another dataset or image size.
    """

    def __init__(self, path: Path, dataset: DatasetIdentity, image: ImageSpec, *, code_version: str) -> None:
        self.path = path
        self._wanted = Manifest(code_version=code_version, dataset=dataset, image=image)
        self._held = ExitStack()

    def __enter__(self) -> CacheWriter:
        self._held.enter_context(only_writer(self.path))
        try:
            sweep(self.path)
            self.manifest = self._open()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    def add_split(self, name: str, record: SplitRecord, ego_masks: np.ndarray | None = None) -> GroupWriter:
        """Declare a split and make its arrays, or check them against what is there already.

        `ego_masks` (mask, height, width) uint8, 0 on the own car, at the size of the stored images.
        """
        masks = _no_masks(self.manifest.image) if ego_masks is None else ego_masks
        record = record.model_copy(update={"ego_masks_sha256": ego_masks_digest(masks)})
        stored = self.manifest.splits.get(name)
        if stored is not None:
            refuse_other_split(self.path, name, stored, record)
        dataset, image = self.manifest.dataset, self.manifest.image
        sizes = frame_sizes(dataset, image, record) | {"mask": len(masks)}
        group = self._group(layout.frames_group(name))
        for array in frame_arrays(image):
            create_array(group, array, sizes, record.shard_rigs)
        create_array(group, EGO_MASK, sizes, record.shard_rigs)
        if stored is None:
            self._write_ego_masks(group, masks)
            self._save(splits={**self.manifest.splits, name: record})
        return self._writer(name, layout.frames_group(name), frame_arrays(image), dataset, image)

    def add_teacher(self, split: str, name: str, record: TeacherRecord) -> GroupWriter:
        """Declare a teacher for a split and make its arrays; the frames are not touched."""
        stored = self.manifest.teachers.get(name)
        if stored is not None:
            refuse_difference(
                self.path,
                f"teacher {name}",
                stored,
                record,
                remedy="use another --teacher-name or another --cache folder",
            )
        group = self._group(layout.teacher_group(split, name))
        sizes = target_sizes(self.manifest.dataset, record.targets, self.manifest.splits[split])
        for array in target_arrays(record.targets):
            attributes = _decoding_attributes(array, record.targets)
            create_array(group, array, sizes, self.manifest.splits[split].shard_rigs, **attributes)
        if stored is None:
            self._save(teachers={**self.manifest.teachers, name: record})
        arrays = target_arrays(record.targets)
        return self._writer(split, layout.teacher_group(split, name), arrays, self.manifest.dataset, record)

    def complete_split(self, split: str, writer: GroupWriter) -> None:
        """Mark the frames of a split complete, so that they can be read."""
        self._refuse_pending(writer)
        self._update_split(split, frames_complete=True)

    def complete_teacher(self, split: str, name: str, writer: GroupWriter) -> None:
        """Mark a teacher's targets for a split complete, so that they can be read."""
        self._refuse_pending(writer)
        done = set(self.manifest.splits[split].teachers_complete) | {name}
        self._update_split(split, teachers_complete=tuple(sorted(done)))

    def _open(self) -> Manifest:
        stored = stored_manifest(self.path, self._wanted.dataset, self._wanted.image)
        if stored is None:
            write_manifest(self.path, self._wanted)
        return stored or self._wanted

    def _write_ego_masks(self, group: Path, masks: np.ndarray) -> None:
        """Before the split enters the manifest, whose digest of the masks every reader compares."""
        if not len(masks):
            return
        open_array(group, EGO_MASK.name, writable=True)[:] = masks
        file = group / shard_file(EGO_MASK.name, len(EGO_MASK.axes), 0)
        sync_file(file)
        _sync_up_to(file.parent, group)

    def _refuse_pending(self, writer: GroupWriter) -> None:
        pending = writer.pending()
        if pending:
            raise CacheIncompleteError(f"{writer.group} still lacks {len(pending)} of {len(writer.shards)} shards")

    def _group(self, name: str) -> Path:
        zarr.open_group(str(self.path), path=name, mode="a")
        return self.path / name

    def _writer(
        self,
        split: str,
        group: str,
        arrays: tuple[ArraySpec, ...],
        *records: DatasetIdentity | ImageSpec | TeacherRecord,
    ) -> GroupWriter:
        record = self.manifest.splits[split]
        without_flags = record.model_copy(update={"frames_complete": False, "teachers_complete": ()})
        return GroupWriter(
            cache=self.path,
            group=group,
            arrays=arrays,
            shards=tuple(shards_of(record)),
            config_sha256=record_digest(without_flags, *records),
        )

    def _update_split(self, split: str, **changes: object) -> None:
        record = self.manifest.splits[split].model_copy(update=changes)
        if record == self.manifest.splits[split]:
            return
        self._save(splits={**self.manifest.splits, split: record})
        consolidate(self.path)

    def _save(self, **changes: object) -> None:
        self.manifest = self.manifest.model_copy(update=changes)
        write_manifest(self.path, self.manifest)


def _no_masks(image: ImageSpec) -> np.ndarray:
    return np.zeros((0, image.height, image.width), np.uint8)


def _decoding_attributes(array: ArraySpec, targets: TargetSpec) -> dict[str, int | float]:
    """What another client needs to decode the array."""
    if array.name == "bin_mean":
        return {"largest_code": mean_codes(targets.bins)}
    if array.name == "bin_spread":
        low, high = spread_limits(targets.bins)
        return {"spread_min": low, "spread_max": high}
    return {}


def _sync_up_to(folder: Path, top: Path) -> None:
    while folder != top:
        sync_folder(folder)
        folder = folder.parent
