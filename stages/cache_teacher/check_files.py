"""Every raw file that a plan needs, read and decoded before anything is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from stages.cache_teacher.datasets.base import SampleRef
from stages.cache_teacher.plan import CachePlan
from stages.cache_teacher.shard_task import default_readers
from stages.cache_teacher.unusable import NOTHING_WRITTEN, Unusable, try_load, unreadable
from stages.progress import Progress


def check_files(plan: CachePlan, progress: Progress) -> None:
    """Raise UnusableSamplesError with all samples of the plan that cannot be read; takes as long as reading them."""
    damaged: list[Unusable] = []
    for split in plan.splits:
        progress.begin(f"check {split.name}", split.record.rigs)
        with ThreadPoolExecutor(plan.config.readers or default_readers(1)) as pool:
            for found in pool.map(partial(_wrong_with, plan, split.name), split.samples):
                progress.advance()
                if found is not None:
                    damaged.append(found)
    if damaged:
        raise unreadable(damaged, NOTHING_WRITTEN)


def _wrong_with(plan: CachePlan, split: str, ref: SampleRef) -> Unusable | None:
    found = try_load(plan.dataset, split, ref, plan.identity.native_size)
    return found if isinstance(found, Unusable) else None
