"""What a cache holds: progress, sizes, compression, scenes. From the manifest and the journal, or where that was lost
from the sizes of files; no array is read.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from cache_schema.cache import Cache
from cache_schema.groups import Group, groups_of
from cache_schema.journal import Journal
from cache_schema.manifest import Manifest, Record
from cache_schema.storage import Storage


class ArraySummary(Record):
    """One array of a group."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes_stored: int
    bytes_per_rig: float
    """Of the rigs that are done."""
    ratio: float | None
    """Uncompressed bytes of the rigs that are done by those stored; none where rigs are of different lengths."""
    ragged: bool
    """Whether rigs fill it to different lengths, of which only what they fill is stored."""


class GroupSummary(Record):
    """The frames of a split, or a teacher's targets for it."""

    split: str
    teacher: str | None
    complete: bool
    rigs_done: int
    rigs: int
    shards_done: int
    shards: int
    arrays: tuple[ArraySummary, ...]
    bytes_stored: int
    """Of all arrays."""


class Summary(Record):
    """A cache."""

    location: str
    manifest: Manifest
    groups: tuple[GroupSummary, ...]
    bytes_stored: int
    """Of all groups."""
    scenes: dict[str, dict[str, int]]
    """Rigs of each scene, by split; only splits that are complete."""


def summarise(cache: Cache) -> Summary:
    """Look at a cache. Raises CacheCorruptError on a damaged journal record."""
    manifest = cache.manifest
    complete = [name for name, record in manifest.splits.items() if record.frames_complete]
    groups = tuple(_group(cache.storage, group) for group in groups_of(manifest))
    return Summary(
        location=cache.location,
        manifest=manifest,
        groups=groups,
        bytes_stored=sum(group.bytes_stored for group in groups),
        scenes={split: _scenes(cache, split) for split in complete},
    )


def _group(storage: Storage, group: Group) -> GroupSummary:
    records = Journal(storage, group.path).shards().values()
    rigs, shards = sum(record.rigs for record in records), len(records)
    sizes = {key: file.size for record in records for key, file in record.files.items()}
    if group.complete and not records:  # copied without its journal
        rigs, shards = group.record.rigs, len(group.shards)
        every = [group.key(array, shard.index) for array in group.arrays for shard in group.shards]
        sizes = storage.sizes(group.path, every)
    stored = {
        array.name: sum(sizes.get(group.key(array, shard.index), 0) for shard in group.shards) for array in group.arrays
    }
    arrays = []
    for array in group.arrays:
        shape = array.shape(group.sizes)
        plain = 0 if array.ragged else rigs * math.prod(shape[1:]) * np.dtype(array.dtype).itemsize
        size = stored[array.name]
        arrays.append(
            ArraySummary(
                name=array.name,
                dtype=array.dtype,
                shape=shape,
                bytes_stored=size,
                bytes_per_rig=size / rigs if rigs else 0.0,
                ratio=plain / size if plain and size else None,
                ragged=array.ragged,
            )
        )
    return GroupSummary(
        split=group.split,
        teacher=group.teacher,
        complete=group.complete,
        rigs_done=rigs,
        rigs=group.record.rigs,
        shards_done=shards,
        shards=len(group.shards),
        arrays=tuple(arrays),
        bytes_stored=sum(stored.values()),
    )


def _scenes(cache: Cache, split: str) -> dict[str, int]:
    frames = cache.split(split)
    return dict(Counter(frames.scene(i) for i in range(len(frames))))
