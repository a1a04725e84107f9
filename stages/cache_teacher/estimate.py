"""How large a cache would become, by writing a few real rigs into a temporary one."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cache_schema import samples_digest
from cache_schema.layout import frames_group, teacher_group
from stages.cache_teacher.datasets.base import SampleRef
from stages.cache_teacher.execute import execute
from stages.cache_teacher.plan import CachePlan, SplitPlan
from stages.progress import Progress

PROBE_RIGS = 3


def estimate(plan: CachePlan, progress: Progress, *, code_version: str) -> dict[str, float]:
    """Bytes per rig of every array of the plan's first split, measured on a few rigs spread over it."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "probe"
        split = _probe(plan.splits[0])
        config = plan.config.model_copy(update={"cache": cache})
        execute(dataclasses.replace(plan, config=config, splits=(split,)), progress, code_version=code_version)
        groups = (frames_group(split.name), teacher_group(split.name, plan.teacher_name))
        return {
            f"{group.removeprefix(split.name + '/')}/{array.name}": _size(array) / split.record.rigs
            for group in groups
            for array in sorted((cache / group).iterdir())
            if (array / "c").is_dir() and array.name != "ego_mask"  # once per split, not per rig
        }


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


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "c").rglob("*") if file.is_file())
