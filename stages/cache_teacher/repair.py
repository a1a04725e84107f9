"""Mending a cache from the raw data and the teacher: exactly what is damaged, with the settings in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cache_schema.errors import CacheCorruptError
from cache_schema.groups import Group, frames_of, groups_of, targets_of
from cache_schema.journal import FileRecord, Journal, ShardRecord
from cache_schema.layout import ROOT
from cache_schema.manifest import no_ego_masks
from cache_schema.manifest_file import write_manifest
from cache_schema.mender import CacheMender
from cache_schema.metadata import group_documents
from cache_schema.verify import Damage, Verification
from stages.cache_teacher.chosen_teacher import identify, require_same
from stages.cache_teacher.execute import run_context, shard_tasks
from stages.cache_teacher.plan import CachePlan, plan
from stages.cache_teacher.repair_sources import Sources, masks_of, stage_1_settings
from stages.cache_teacher.unusable import unreadable
from stages.cache_teacher.workers import open_workers
from stages.progress import Progress

REMEDY = "what is mended stays so: replace what is damaged, and repair again"


def repair(location: str, found: Verification, sources: Sources, progress: Progress, *, code_version: str) -> list[str]:
    """Mend what a verification found; returns the files that came out sound, but not the same bytes as before.

    Raises ConfigError where a source is needed and not given, and the errors of stage 1. Shards that are being
    mended are out of the journal, so that an interrupted repair is found and finished by the next.
    """
    with CacheMender(location) as mender:
        groups = groups_of(mender.manifest)
        wrong = {
            group.path: [d for d in found.damages if (d.split, d.teacher) == (group.split, group.teacher)]
            for group in groups
        }
        jobs = [job for split in mender.manifest.splits for job in _jobs(mender, split, wrong, sources)]
        before = {key: file for group in groups for key, file in _files(mender, group).items()}
        for group in groups:
            _mend_whole_files(mender, group, wrong[group.path], sources)
            mender.forget(group, _shards(wrong[group.path]))
        if any(damage.file == ROOT for damage in found.damages):
            write_manifest(mender.storage, mender.manifest)
        for job in jobs:
            _redo(mender, job, progress, code_version)
        after = {key: file for group in groups for key, file in _files(mender, group).items()}
    return [key for key, file in before.items() if after.get(key) != file]


@dataclass(frozen=True)
class _Job:
    """Shards of a split to do again: frames, or a teacher's targets, or both in one pass over the raw data."""

    split: str
    teacher: str | None
    planned: CachePlan


def _jobs(mender: CacheMender, split: str, wrong: Mapping[str, Sequence[Damage]], sources: Sources) -> list[_Job]:
    """What must be done again, planned: a source that is missing or does not fit is known before anything changes."""
    teachers = [
        name for name in mender.manifest.teachers if _shards(wrong[targets_of(mender.manifest, split, name).path])
    ]
    if not teachers and not _shards(wrong[frames_of(mender.manifest, split).path]):
        return []
    chosen: list[str | None] = [*teachers] or [None]
    jobs = [_Job(split, teacher, plan(stage_1_settings(mender, split, teacher, sources))) for teacher in chosen]
    for job in jobs:
        if job.teacher is not None:
            settings = job.planned.config.teacher
            require_same(settings, identify(settings), mender.manifest.teachers[job.teacher].identity)
    return jobs


def _shards(damages: Sequence[Damage]) -> set[int]:
    return {damage.shard for damage in damages if damage.shard is not None}


def _files(mender: CacheMender, group: Group) -> dict[str, FileRecord]:
    """What the journal knows about the files of a group."""
    journal = Journal(mender.storage, group.path)
    shards = [entry for entry in journal.entries().values() if isinstance(entry, ShardRecord)]
    try:
        whole = journal.group()
    except CacheCorruptError:
        whole = None
    return {key: file for record in (*shards, *([whole] if whole else [])) for key, file in record.files.items()}


def _mend_whole_files(mender: CacheMender, group: Group, wrong: Sequence[Damage], sources: Sources) -> None:
    """Metadata, ego masks and their record, and journal records that speak of no shard."""
    journal = Journal(mender.storage, group.path)
    no_shard = [damage.file for damage in wrong if damage.shard is None]
    keys = {journal.group_key, *group_documents(mender.manifest, group), *map(group.key, group.whole_arrays)}
    for key in no_shard:
        if key not in keys:
            mender.storage.delete(key)
    if keys.intersection(no_shard):
        with_masks = group.teacher is None and group.record.ego_masks
        manifest = mender.manifest
        mender.restore_metadata(group, masks_of(manifest, sources) if with_masks else no_ego_masks(manifest.image))


def _redo(mender: CacheMender, job: _Job, progress: Progress, code_version: str) -> None:
    """Do the shards again that the journal lacks."""
    frames, targets, record = mender.writer(frames_of(mender.manifest, job.split)), None, None
    if job.teacher is not None:
        record = mender.manifest.teachers[job.teacher]
        targets = mender.writer(targets_of(mender.manifest, job.split, job.teacher))
    tasks = shard_tasks(job.planned.splits[0].samples, frames, targets)
    progress.begin(f"repair {job.split}", sum(task.shard.rigs for task in tasks))
    with open_workers(run_context(job.planned, record, mender.run, code_version), progress) as workers:
        damaged = [each for result in workers.run(tasks) for each in result.damaged]
    if damaged:
        raise unreadable(damaged, REMEDY)
