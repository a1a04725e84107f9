"""Writing a cache: `CacheWriter` owns the manifest, `GroupWriter` writes the shards of one group of arrays.

A shard is encoded in memory, written, read back and compared, and only then entered in the journal.
A split or a teacher is marked complete, and only then readable, when the journal holds all its shards.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from cache_schema.agreement import (
    OTHER_CACHE,
    refuse_another_place,
    refuse_other_split,
    refuse_other_teacher,
    stored_manifest,
)
from cache_schema.arrays import ArraySpec
from cache_schema.errors import CacheError, CacheIncompleteError, CacheMismatchError
from cache_schema.groups import Group, Shard, frames_of, groups_of, targets_of
from cache_schema.journal import FileRecord, Journal, ShardRecord
from cache_schema.layout import journal_folder
from cache_schema.manifest import (
    DatasetIdentity,
    ImageSpec,
    Manifest,
    SplitRecord,
    TeacherRecord,
    ego_masks_digest,
    no_ego_masks,
)
from cache_schema.manifest_file import read_copy, read_manifest, write_copy, write_manifest
from cache_schema.metadata import Documents, encode_shard, group_documents, group_files
from cache_schema.shards import ShardBytes, layout_of
from cache_schema.storage import Storage, open_storage

Writer = TypeVar("Writer", bound="CacheWriter")


@dataclass(frozen=True)
class GroupWriter:
    """Writes the shards of one group of arrays, in the name of one run.

    Cheap to pickle; several, in any processes, may write different shards at once.
    """

    storage: Storage
    group: Group
    run: str

    def pending(self) -> list[Shard]:
        """The shards the journal does not hold, or whose files are lost or of another length.

        Raises CacheMismatchError on one made by another configuration.
        """
        done, config_sha256 = self._journal.shards(), self._config_sha256()
        for record in done.values():
            if record.config_sha256 != config_sha256:
                shard_file = f"shard {record.shard} of {self.storage.path(self.group.path)}"
                raise CacheMismatchError(f"{shard_file} was made with other settings; {OTHER_CACHE}")
        expected = {key: file.size for record in done.values() for key, file in record.files.items()}
        whole = self.storage.sizes(self.group.path, expected)
        return [
            shard
            for shard in self.group.shards
            if shard.index not in done
            or any(whole.get(key) != file.size for key, file in done[shard.index].files.items())
        ]

    def write(self, shard: Shard, blocks: Mapping[str, np.ndarray]) -> ShardRecord:
        """Write one shard durably and enter it in the journal.

        `blocks` holds, per array of the group, the values of rigs [start, stop). Raises CacheError where a
        block does not fit its array, or where what was read back is not what was written, and CacheLockedError
        where the run no longer holds the cache.
        """
        self._check(shard, blocks)
        files = {
            self.group.key(array, shard.index): encode_shard(array, blocks[array.name], self.group.record.shard_rigs)
            for array in self.group.arrays
        }
        with self.storage.part_of(self.run):
            self.storage.write(files)
            for array in self.group.arrays:
                self._read_back(array, shard, files[self.group.key(array, shard.index)], blocks[array.name])
            record = ShardRecord(
                shard=shard.index,
                start=shard.start,
                stop=shard.stop,
                config_sha256=self._config_sha256(),
                files={key: FileRecord.of(data) for key, data in files.items()},
            )
            self._journal.append(record)
        return record

    def _config_sha256(self) -> str:
        record = self._journal.group()
        return self.group.config_sha256 if record is None else record.config_sha256

    @property
    def _journal(self) -> Journal:
        return Journal(self.storage, self.group.path)

    def _check(self, shard: Shard, blocks: Mapping[str, np.ndarray]) -> None:
        expected = {array.name for array in self.group.arrays}
        if set(blocks) != expected:
            raise CacheError(f"{self.group.path} expects the arrays {sorted(expected)}, got {sorted(blocks)}")
        for array in self.group.arrays:
            block, shape = blocks[array.name], (shard.rigs, *array.shape(self.group.sizes)[1:])
            if block.shape != shape or block.dtype != array.dtype:
                what = f"{self.group.path}/{array.name} rigs {shard.start}..{shard.stop}"
                raise CacheError(f"{what}: got {block.dtype} {block.shape}, expected {array.dtype} {shape}")

    def _read_back(self, array: ArraySpec, shard: Shard, written: bytes, block: np.ndarray) -> None:
        key = self.group.key(array, shard.index)
        stored = self.storage.read(key)
        layout = layout_of(array, block.shape, self.group.record.shard_rigs)
        if stored != written or not ShardBytes(stored, layout).holds(block):
            raise CacheError(
                f"{self.storage.path(key)} does not read back as it was written; check the disk and the memory, "
                "and run stage 1 again"
            )


class CacheWriter:
    """The one run that may change a cache. Use as a context manager; it holds the cache's lock.

    Raises CacheLockedError where another process writes, CacheMismatchError where the place already holds
    something made with other settings; with `overwrite` that is erased instead. ConfigError where it is no cache.
    """

    def __init__(
        self,
        path: str | Path,
        dataset: DatasetIdentity,
        image: ImageSpec,
        *,
        code_version: str,
        overwrite: bool = False,
    ) -> None:
        self.storage = open_storage(path)
        self._overwrite = overwrite
        self.erased: list[str] = []
        """Groups that gave way to others of their name."""
        self._wanted = Manifest(code_version=code_version, dataset=dataset, image=image)
        self.run = uuid.uuid4().hex
        """New for every run: workers write in its name."""
        self._held = ExitStack()

    def __enter__(self: Writer) -> Writer:
        refuse_another_place(self.storage)
        self._held.enter_context(self.storage.only_writer(self.run))
        try:
            self.storage.sweep()
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
        masks = no_ego_masks(self.manifest.image) if ego_masks is None else ego_masks
        record = record.model_copy(update={"ego_masks": len(masks), "ego_masks_sha256": ego_masks_digest(masks)})
        stored = self.manifest.splits.get(name)
        if stored is not None and self._differs(
            lambda: refuse_other_split(self.storage.location, name, stored, record)
        ):
            self._erase_split(name)
        if name not in self.manifest.splits:
            self._declare_split(name, record, masks)
        return self.writer(frames_of(self.manifest, name))

    def add_teacher(self, split: str, name: str, record: TeacherRecord) -> GroupWriter:
        """Declare a teacher for a split and make its arrays; the frames are not touched."""
        stored = self.manifest.teachers.get(name)
        if stored is not None and self._differs(
            lambda: refuse_other_teacher(self.storage.location, name, stored, record)
        ):
            self._erase_teacher(name)
        manifest = self.manifest.model_copy(update={"teachers": {**self.manifest.teachers, name: record}})
        group = targets_of(manifest, split, name)
        if name not in self.manifest.teachers or Journal(self.storage, group.path).group() is None:
            self._make(manifest, group, group_documents(manifest, group))
        return self.writer(group)

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
        try:
            stored = stored_manifest(self.storage, self._wanted.dataset, self._wanted.image)
            if stored is not None:
                self._renew_copy(stored)
            return stored or self._wanted
        except CacheMismatchError:
            if not self._overwrite:
                raise
        self._erase(groups_of(read_manifest(self.storage)), self._wanted)
        return self._wanted

    def _renew_copy(self, manifest: Manifest) -> None:
        """The copy is older where a run died between writing the root and it."""
        try:
            same = read_copy(self.storage) == manifest
        except CacheError:
            same = False
        if not same:
            write_copy(self.storage, manifest)

    def _differs(self, refuse: Callable[[], None]) -> bool:
        """Whether what is stored was made otherwise; raises CacheMismatchError unless it may be erased."""
        try:
            refuse()
        except CacheMismatchError:
            if not self._overwrite:
                raise
            return True
        return False

    def _erase_split(self, name: str) -> None:
        splits = {split: record for split, record in self.manifest.splits.items() if split != name}
        gone = [group for group in groups_of(self.manifest) if group.split == name]
        self._erase(gone, self.manifest.model_copy(update={"splits": splits}))

    def _erase_teacher(self, name: str) -> None:
        splits = {
            split: record.model_copy(update={"teachers_complete": tuple(set(record.teachers_complete) - {name})})
            for split, record in self.manifest.splits.items()
        }
        teachers = {teacher: record for teacher, record in self.manifest.teachers.items() if teacher != name}
        gone = [group for group in groups_of(self.manifest) if group.teacher == name]
        self._erase(gone, self.manifest.model_copy(update={"splits": splits, "teachers": teachers}))

    def _erase(self, groups: Iterable[Group], rest: Manifest) -> None:
        """The manifest forgets them first, so that a half erased group is never read."""
        self._save(rest)
        for group in groups:
            self.erased.append(group.path)
            self._clear(group)

    def _clear(self, group: Group) -> None:
        with self.storage.part_of(self.run):
            for folder in (journal_folder(group.path), group.path):
                for key in self.storage.keys(folder):
                    self.storage.delete(key)

    def _declare_split(self, name: str, record: SplitRecord, masks: np.ndarray) -> None:
        manifest = self.manifest.model_copy(update={"splits": {**self.manifest.splits, name: record}})
        group = frames_of(manifest, name)
        self._make(manifest, group, group_files(manifest, group, masks))

    def _make(self, manifest: Manifest, group: Group, files: Documents) -> None:
        """Write what a group holds beside its shards, then its record, then the manifest that speaks of it."""
        if group.path not in {known.path for known in groups_of(self.manifest)}:
            self._clear(group)  # of what an interrupted run left that was erasing another of that name
        with self.storage.part_of(self.run):
            self.storage.write(files)
            Journal(self.storage, group.path).set_group(files, group.config_sha256)
        self._save(manifest)

    def writer(self, group: Group) -> GroupWriter:
        """The writer of a group's shards, in the name of this run."""
        return GroupWriter(self.storage, group, self.run)

    def _refuse_pending(self, writer: GroupWriter) -> None:
        pending = writer.pending()
        if pending:
            raise CacheIncompleteError(
                f"{writer.group.path} still lacks {len(pending)} of {len(writer.group.shards)} shards"
            )

    def _update_split(self, split: str, **changes: object) -> None:
        record = self.manifest.splits[split].model_copy(update=changes)
        if record != self.manifest.splits[split]:
            self._save(self.manifest.model_copy(update={"splits": {**self.manifest.splits, split: record}}))

    def _save(self, manifest: Manifest) -> None:
        with self.storage.part_of(self.run):
            write_manifest(self.storage, manifest)
        self.manifest = manifest
