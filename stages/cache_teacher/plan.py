"""What stage 1 would do: which rigs, which of them are done, and under which identity they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from cache_schema import DatasetIdentity, ImageSpec, Manifest
from cache_schema.agreement import refuse_another_place, refuse_other_split, stored_manifest
from cache_schema.errors import ConfigError, DatasetError
from cache_schema.manifest import ego_masks_digest, no_ego_masks
from cache_schema.manifest_file import cache_exists, read_manifest
from cache_schema.places import require_writable
from cache_schema.storage import LocalStorage, open_storage
from cache_schema.verify import refuse_without_journal
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.cache_teacher.datasets.ego_masks import EgoMasks, load_ego_masks
from stages.cache_teacher.datasets.open import open_dataset
from stages.cache_teacher.repeats import SEEN, find_repeats
from stages.cache_teacher.skipping import Skip, samples_to_skip
from stages.cache_teacher.split_plan import SHOWN_IN_ERROR, SplitPlan, plan_split
from stages.crowd import refuse_crowd
from stages.device import choose_device
from stages.wording import counted


@dataclass(frozen=True)
class CachePlan:
    """All that stage 1 would do. Made by `plan`, carried out by `execute`."""

    config: CacheTeacherConfig
    dataset: RigDataset
    identity: DatasetIdentity
    ego_masks: EgoMasks | None
    teacher_name: str
    keeps_raw_scale: bool
    """Whether the targets have the teacher's raw scale: not where the cache began them without it."""
    splits: tuple[SplitPlan, ...]
    shared: tuple[str, ...]
    """What two splits share, of which one may be in the cache already."""

    @property
    def rigs(self) -> int:
        """Rigs of all splits."""
        return sum(split.record.rigs for split in self.splits)

    @property
    def frames_missing(self) -> bool:
        """Whether there are rigs without frames."""
        return any(split.frames_done < split.record.rigs for split in self.splits)

    @property
    def teacher_missing(self) -> bool:
        """Whether the teacher still has something to say."""
        return any(split.teacher_done < split.record.rigs for split in self.splits)

    def describe(self) -> list[str]:
        """What would be done, one line each, for a person."""
        ring = " → ".join(self.identity.cameras)
        height, width = self.config.image.height, self.config.image.width
        lines = [
            f"dataset  {self.identity.name} {self.identity.version} at {self.config.root}",
            f"ring     {ring}; {counted(len(self.identity.adjacent_pairs), 'adjacent pair')}",
            f"images   {width} × {height}, {self.config.image.encoding}",
            f"teacher  {self.config.teacher.id}, in the cache as {self.teacher_name}",
        ]
        if not self.keeps_raw_scale:
            lines.append(f"{'':8} its targets were begun without raw scale and go on so; --overwrite makes them anew")
        if self.ego_masks is not None:
            lines += self.ego_masks.describe(sample.scene for split in self.splits for sample in split.samples)
        if self.config.overwrite:
            lines.append("overwrite what has other settings is erased, a teacher in every split it was made for")
        lines += [line for split in self.splits for line in split.describe()]
        lines += [f"doubtful {doubt}" for doubt in self.shared]
        if self.config.splits is None:
            lines += [f"{name:8} none of its scenes is here" for name in self.dataset.absent_splits]
        return lines


def plan(config: CacheTeacherConfig) -> CachePlan:
    """Look at the dataset and the cache, change nothing.

    Raises DatasetError for data that cannot be read, CacheMismatchError where the cache holds something else, and
    ConfigError for a place where there can be none, or a device that there is not.
    """
    _refuse_place(config)
    dataset = open_dataset(config)
    names = config.splits or dataset.splits
    teacher_name = config.teacher.called
    masks = _ego_masks(config, dataset)
    skip = samples_to_skip(config, dataset)
    splits = tuple(plan_split(config, dataset, name, teacher_name, masks, skip) for name in names)
    if masks is not None:
        masks.require_shape_of(splits[0].native_size)
    identity = DatasetIdentity(
        name=dataset.name,
        version=dataset.version,
        cameras=dataset.cameras,
        adjacent_pairs=dataset.adjacent_pairs,
        native_size=splits[0].native_size,
    )
    if not config.overwrite:
        _refuse_other(config.cache, identity, config.image, splits, masks)
    storage = open_storage(config.cache)
    stored = read_manifest(storage) if cache_exists(storage) else None
    made = CachePlan(
        config=config,
        dataset=dataset,
        identity=identity,
        ego_masks=masks,
        teacher_name=teacher_name,
        keeps_raw_scale=config.overwrite or not _begun_without_raw_scale(stored, teacher_name),
        splits=splits,
        shared=_shared(config, dataset, splits, skip, stored),
    )
    if isinstance(storage, LocalStorage) and (made.frames_missing or made.teacher_missing):
        require_writable(storage.root, "--cache")
    return made


def _shared(
    config: CacheTeacherConfig,
    dataset: RigDataset,
    splits: Sequence[SplitPlan],
    skip: Skip,
    stored: Manifest | None,
) -> tuple[str, ...]:
    """Of any two splits, planned or in the cache from an earlier run, that both have some rigs."""
    samples: dict[str, Sequence[SampleRef]] = {split.name: split.samples for split in splits}
    cached = {} if stored is None else stored.splits
    for name in (name for name in cached if name not in samples and name in dataset.splits):
        with suppress(DatasetError):  # of a split that is not asked for
            samples = {name: skip.part(dataset.samples(name))[0], **samples}
    shared = find_repeats(dataset, samples)
    again = (
        f"{split.name} has the rigs of {name} in {config.cache}: {SEEN}"
        for split in splits
        for name, record in cached.items()
        if name not in samples and record.samples_sha256 == split.record.samples_sha256
    )
    return *shared, *again


def _refuse_place(config: CacheTeacherConfig) -> None:
    """Raise ConfigError where a new cache would lie among something else, or its workers cannot be."""
    storage = open_storage(config.cache)
    refuse_another_place(storage)
    refuse_crowd("readers", config.readers)
    refuse_crowd("workers", config.workers)
    if config.scheduler is None:
        choose_device(config.device)
    if not storage.shared and (config.workers or config.scheduler):
        raise ConfigError(f"other processes do not see {config.cache}; leave out --workers and --scheduler")


def _refuse_other(
    cache: str, identity: DatasetIdentity, image: ImageSpec, splits: Sequence[SplitPlan], masks: EgoMasks | None
) -> None:
    """Raise CacheMismatchError where the cache holds something else; teachers are compared once they are known."""
    own = no_ego_masks(image) if masks is None else masks.masks
    masks_of = {"ego_masks": len(own), "ego_masks_sha256": ego_masks_digest(own)}
    storage = open_storage(cache)
    stored = stored_manifest(storage, identity, image)
    if stored is not None:
        refuse_without_journal(storage, stored)
    for split in splits:
        known = None if stored is None else stored.splits.get(split.name)
        if known is not None:
            refuse_other_split(cache, split.name, known, split.record.model_copy(update=masks_of), _left_out(split))


def _left_out(split: SplitPlan) -> str:
    """Samples that lack a file, as a split may have fewer than before for."""
    shown = "; ".join(map(str, split.incomplete[:SHOWN_IN_ERROR]))
    return f" ({counted(len(split.incomplete), 'incomplete one')} left out: {shown})" if shown else ""


def _begun_without_raw_scale(stored: Manifest | None, teacher: str) -> bool:
    """Whether the cache has targets of the teacher from before raw scales were kept."""
    begun = None if stored is None else stored.teachers.get(teacher)
    return begun is not None and not begun.targets.test_time_views


def _ego_masks(config: CacheTeacherConfig, dataset: RigDataset) -> EgoMasks | None:
    if config.ego_masks is None:
        return None
    return load_ego_masks(config.ego_masks, dataset.cameras, (config.image.height, config.image.width))
