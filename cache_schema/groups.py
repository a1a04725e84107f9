"""The groups of arrays that a cache is made of, as its manifest implies them: frames, and targets per teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cache_schema.arrays import EGO_MASK, ArraySpec, frame_arrays, frame_sizes, target_arrays, target_sizes
from cache_schema.layout import frames_group, teacher_group
from cache_schema.manifest import Manifest, SplitRecord, record_digest


@dataclass(frozen=True)
class Shard:
    """Rigs [start, stop) of a split: the unit of work, of writing and of resuming."""

    index: int
    start: int
    stop: int

    @property
    def rigs(self) -> int:
        """Number of rigs."""
        return self.stop - self.start


def shards_of(split: SplitRecord) -> list[Shard]:
    """All shards of a split, in order."""
    size = split.shard_rigs
    return [
        Shard(index, start, min(start + size, split.rigs)) for index, start in enumerate(range(0, split.rigs, size))
    ]


@dataclass(frozen=True)
class Group:
    """Arrays that are written together, shard by shard."""

    path: str
    """Below the cache's root."""
    split: str
    teacher: str | None
    """None: the frames."""
    record: SplitRecord
    arrays: tuple[ArraySpec, ...]
    """Those that have a rig axis."""
    sizes: Mapping[str, int]
    """Of the arrays' axes."""
    config_sha256: str
    """What shards made now depend on: the records of split, dataset and images, or of split, dataset and teacher."""
    complete: bool

    @property
    def shards(self) -> list[Shard]:
        """All shards, in order."""
        return shards_of(self.record)

    @property
    def whole_arrays(self) -> tuple[ArraySpec, ...]:
        """Those that have no rig axis, and are in no shard."""
        return (EGO_MASK,) if self.teacher is None else ()

    def key(self, array: ArraySpec, shard: int = 0) -> str:
        """Key of an array's file for a shard."""
        return f"{self.path}/{array.name}/{chunk_key(array, shard)}"


def chunk_key(array: ArraySpec, shard: int = 0) -> str:
    """Name of a shard's file in its array: the key of the chunk grid, whose other axes have one cell."""
    return ".".join(["c", str(shard), *["0"] * (len(array.axes) - 1)])


def frames_of(manifest: Manifest, split: str) -> Group:
    """The frames of a split."""
    record = manifest.splits[split]
    return Group(
        path=frames_group(split),
        split=split,
        teacher=None,
        record=record,
        arrays=frame_arrays(manifest.image, record),
        sizes=frame_sizes(manifest.dataset, manifest.image, record),
        config_sha256=record_digest(_without_flags(record), manifest.dataset, manifest.image),
        complete=record.frames_complete,
    )


def targets_of(manifest: Manifest, split: str, teacher: str) -> Group:
    """A teacher's targets for a split, without the arrays that would be empty.

    Those are view relations where the dataset has no adjacent cameras, and features and raw scale where they are not
    stored.
    """
    record, spoken = manifest.splits[split], manifest.teachers[teacher]
    sizes = target_sizes(manifest.dataset, spoken.targets, record)
    return Group(
        path=teacher_group(split, teacher),
        split=split,
        teacher=teacher,
        record=record,
        arrays=tuple(array for array in target_arrays(spoken.targets) if 0 not in array.shape(sizes)),
        sizes=sizes,
        config_sha256=record_digest(_without_flags(record), manifest.dataset, spoken),
        complete=teacher in record.teachers_complete,
    )


def groups_of(manifest: Manifest) -> list[Group]:
    """Every group that the manifest speaks of, started or not."""
    return [
        group
        for split in manifest.splits
        for group in (
            frames_of(manifest, split),
            *(targets_of(manifest, split, teacher) for teacher in manifest.teachers),
        )
    ]


def _without_flags(record: SplitRecord) -> SplitRecord:
    return record.model_copy(update={"frames_complete": False, "teachers_complete": ()})
