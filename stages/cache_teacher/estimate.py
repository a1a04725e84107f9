"""How large a cache would become, by writing a few real rigs into a temporary one."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr

from cache_schema import Cache, TeacherRecord, samples_digest
from cache_schema.agreement import refuse_other_teacher
from cache_schema.arrays import ArraySpec
from cache_schema.groups import Group, frames_of, shards_of, targets_of
from cache_schema.manifest_file import cache_exists, read_manifest
from cache_schema.metadata import encode_shard
from cache_schema.storage import open_storage
from stages.cache_teacher.cluster import open_cluster
from stages.cache_teacher.datasets.base import SampleRef
from stages.cache_teacher.execute import execute
from stages.cache_teacher.plan import CachePlan
from stages.cache_teacher.split_plan import SplitPlan
from stages.cache_teacher.unusable import NOTHING_WRITTEN, UnusableSamplesError, unreadable
from stages.progress import Progress

PROBE_RIGS = 4


def estimate(plan: CachePlan, progress: Progress, *, code_version: str) -> dict[str, float]:
    """Bytes of every array over all splits of the plan, from a few rigs spread over the first.

    A shard costs something for itself and something for each rig, which compression makes less than proportional
    for small arrays: both are measured, by encoding one of the rigs and then all of them.

    Raises what carrying out the plan would: the errors of dataset, teacher and cache, ConfigError for the scheduler.
    """
    if plan.config.scheduler is not None:
        with open_cluster(plan.config.scheduler, 0, progress.note):
            pass
    with tempfile.TemporaryDirectory() as folder:
        split = _probe(plan.splits[0])
        here = {"cache": str(Path(folder) / "probe"), "workers": None, "scheduler": None}
        config = plan.config.model_copy(update=here)
        probe = dataclasses.replace(plan, config=config, splits=(split,))
        try:
            execute(probe, progress, code_version=code_version, task="probe a few rigs of")
        except UnusableSamplesError as error:
            raise unreadable(error.samples, NOTHING_WRITTEN) from error
        cache = Cache(config.cache)
        _refuse_other_teacher(plan, cache.manifest.teachers[plan.teacher_name])
        rows = [shard.rigs for planned in plan.splits for shard in shards_of(planned.record)]
        groups = frames_of(cache.manifest, split.name), targets_of(cache.manifest, split.name, plan.teacher_name)
        return {
            f"{group.path}/{array.name}".removeprefix(f"{split.name}/"): _predict(
                array, _stored(cache, group, array), rows, config.shard_rigs
            )
            for group in groups
            for array in group.arrays
        }


def _refuse_other_teacher(plan: CachePlan, record: TeacherRecord) -> None:
    """Raise CacheMismatchError where the cache has another teacher of that name."""
    storage = open_storage(plan.config.cache)
    if plan.config.overwrite or not cache_exists(storage):
        return
    stored = read_manifest(storage).teachers.get(plan.teacher_name)
    if stored is not None:
        refuse_other_teacher(storage.location, plan.teacher_name, stored, record)


def _stored(cache: Cache, group: Group, array: ArraySpec) -> np.ndarray:
    """All of an array, through zarr: what is behind a rig's end is not stored, and zarr fills it in."""
    return np.asarray(zarr.open_array(cache.storage.path(f"{group.path}/{array.name}"), mode="r"))


def _predict(array: ArraySpec, block: np.ndarray, rows: Sequence[int], shard_rigs: int) -> float:
    """Bytes of shards of so many rigs each, from those of one rig and those of all in the block."""
    one, whole = (len(encode_shard(array, part, shard_rigs)) for part in (block[:1], block))
    each = (whole - one) / (len(block) - 1) if len(block) > 1 else one
    return float(sum(one + each * (count - 1) for count in rows))


def _probe(split: SplitPlan) -> SplitPlan:
    samples = _spread(split.samples)
    record = split.record.model_copy(
        update={
            "rigs": len(samples),
            "samples_sha256": samples_digest((sample.scene, sample.sample) for sample in samples),
            "shard_rigs": len(samples),
        }
    )
    return dataclasses.replace(split, record=record, samples=samples)


def _spread(samples: Sequence[SampleRef]) -> tuple[SampleRef, ...]:
    count = min(PROBE_RIGS, len(samples))
    return tuple(samples[i * len(samples) // count] for i in range(count))
