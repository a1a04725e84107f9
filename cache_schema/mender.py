"""Mending a damaged cache: what the manifest implies is written again; shards are given back to stage 1."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cache_schema.groups import Group
from cache_schema.journal import Journal, ShardRecord
from cache_schema.manifest import Manifest
from cache_schema.manifest_file import write_manifest
from cache_schema.metadata import group_files
from cache_schema.storage import open_storage
from cache_schema.verify import sound_manifest
from cache_schema.writer import CacheWriter


class CacheMender(CacheWriter):
    """A writer that takes the cache as its manifest says it should be. Opening it mends the manifest or its copy."""

    def __init__(self, path: str | Path) -> None:
        manifest, _ = sound_manifest(open_storage(path))
        super().__init__(path, manifest.dataset, manifest.image, code_version=manifest.code_version)

    def restore_metadata(self, group: Group, ego_masks: np.ndarray) -> None:
        """Write again what a group holds beside its shards; `ego_masks` (mask, height, width), which may be none."""
        files = group_files(self.manifest, group, ego_masks)
        journal = Journal(self.storage, group.path)
        made_with = {entry.config_sha256 for entry in journal.entries().values() if isinstance(entry, ShardRecord)}
        with self.storage.part_of(self.run):
            self.storage.write(files)
            journal.set_group(files, next(iter(made_with), group.config_sha256))

    def forget(self, group: Group, shards: Iterable[int]) -> None:
        """Take shards out of the journal, so that they are done again."""
        journal = Journal(self.storage, group.path)
        with self.storage.part_of(self.run):
            journal.remove(journal.key(shard) for shard in shards)

    def _open(self) -> Manifest:
        manifest, damages = sound_manifest(self.storage)
        if damages:
            write_manifest(self.storage, manifest)
        return manifest
