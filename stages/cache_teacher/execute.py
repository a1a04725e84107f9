"""Stage 1 at work: shard by shard, raw frames become frames and soft targets, once.

A shard is done when the cache's journal says so; an interrupted run goes on with those that are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache_schema import CacheWriter, GroupWriter, TargetSpec, TeacherIdentity, TeacherKind, TeacherRecord
from stages.cache_teacher.chosen_teacher import feature_channels, identify
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.base import SampleRef
from stages.cache_teacher.plan import CachePlan
from stages.cache_teacher.shard_task import RunContext, ShardTask, default_readers
from stages.cache_teacher.split_plan import SplitPlan
from stages.cache_teacher.unknown_views import tell_unknown
from stages.cache_teacher.unusable import Unusable, unreadable
from stages.cache_teacher.workers import Workers, open_workers
from stages.progress import Progress

REMEDY = (
    "what is finished is kept: replace what is damaged and run the same command again, or leave these samples out with "
    "--skip-file and, since their splits are then made anew, --overwrite"
)


@dataclass(frozen=True)
class CacheResult:
    """What stage 1 did: rigs handled in this run, bytes of the shards it wrote, and samples that it could not read."""

    rigs: int
    bytes: int
    damaged: tuple[Unusable, ...] = ()


def execute(plan: CachePlan, progress: Progress, *, code_version: str, task: str = "cache") -> CacheResult:
    """Carry out a plan; `task` is what the progress calls it.

    Raises the errors of the teacher and the cache, and UnusableSamplesError where samples are damaged, once all others
    are through; what is written stays.
    """
    identity = identify(plan.config.teacher)
    targets = target_spec(plan.config, identity, raw_scale=plan.keeps_raw_scale)
    record = TeacherRecord(identity=identity, targets=targets)
    config = plan.config
    with (
        CacheWriter(
            config.cache, plan.identity, config.image, code_version=code_version, overwrite=config.overwrite
        ) as writer,
        open_workers(run_context(plan, record, writer.run, code_version), progress) as workers,
    ):
        if plan.teacher_missing or config.overwrite:
            workers.load_teacher()
        done = [_cache_split(writer, plan, split, record, workers, progress, task) for split in plan.splits]
    if damaged := [each for part in done for each in part.damaged]:
        raise unreadable(damaged, REMEDY)
    return CacheResult(rigs=sum(part.rigs for part in done), bytes=sum(part.bytes for part in done))


def target_spec(config: CacheTeacherConfig, teacher: TeacherIdentity, *, raw_scale: bool) -> TargetSpec:
    """How the targets of a teacher are stored: a bin head keeps its modes unless the settings say otherwise.

    Raises TeacherError where features are asked for of a network whose backbone is not known.
    """
    settings = config.targets
    default = "topk" if teacher.kind is TeacherKind.BINS else "moments"
    return TargetSpec(
        height=max(config.image.height // settings.grid_divisor, 1),
        width=max(config.image.width // settings.grid_divisor, 1),
        bins=settings.bins,
        normalisation=settings.normalisation,
        quantiles=settings.quantiles,
        encoding=settings.encoding or default,
        topk=settings.topk,
        token_grid=settings.token_grid,
        relation_of=settings.relation_of,
        feature_channels=feature_channels(config.teacher) if settings.features else 0,
        test_time_views=teacher.test_time_views if raw_scale else 0,
    )


def run_context(plan: CachePlan, teacher: TeacherRecord | None, run: str, code_version: str) -> RunContext:
    """What the tasks of a run share."""
    return RunContext(
        run=run,
        config=plan.config,
        dataset=plan.dataset,
        identity=plan.identity,
        teacher=teacher,
        code_version=code_version,
        readers=plan.config.readers or default_readers(plan.config.workers or 1),
    )


def shard_tasks(samples: Sequence[SampleRef], frames: GroupWriter, targets: GroupWriter | None) -> list[ShardTask]:
    """A task for every shard that lacks frames or targets."""
    frames_pending = set(frames.pending())
    targets_pending = set() if targets is None else set(targets.pending())
    return [
        ShardTask(
            split=frames.group.split,
            shard=shard,
            samples=tuple(samples[shard.start : shard.stop]),
            record=frames.group.record,
            frames=frames if shard in frames_pending else None,
            targets=targets if shard in targets_pending else None,
        )
        for shard in frames.group.shards
        if shard in frames_pending | targets_pending
    ]


def _cache_split(
    writer: CacheWriter,
    plan: CachePlan,
    split: SplitPlan,
    record: TeacherRecord,
    workers: Workers,
    progress: Progress,
    task: str,
) -> CacheResult:
    masks = None if plan.ego_masks is None else plan.ego_masks.masks
    frames = writer.add_split(split.name, split.record, masks)
    targets = writer.add_teacher(split.name, plan.teacher_name, record)
    if writer.erased:
        progress.note(f"erased, to be made again with other settings: {', '.join(writer.erased)}")
        writer.erased.clear()
    tasks = shard_tasks(split.samples, frames, targets)
    rigs = sum(task.shard.rigs for task in tasks)
    progress.begin(f"{task} {split.name}", split.record.rigs, split.record.rigs - rigs)
    results = []
    for result in workers.run(tasks):
        results.append(result)
        tell_unknown(result.unknown, sum(len(each.unknown) for each in results), progress)
    damaged = sorted((each for result in results for each in result.damaged), key=lambda each: each.name)
    if not damaged:
        writer.complete_split(split.name, frames)
        writer.complete_teacher(split.name, plan.teacher_name, targets)
    return CacheResult(rigs, sum(result.size for result in results), tuple(damaged))
