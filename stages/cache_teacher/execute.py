"""Stage 1 at work: load the teacher once, then shard by shard raw frames become frames and soft targets.

A shard is done when the cache's journal says so; an interrupted run goes on with the first that is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float16
from torch.nn import functional as F

from cache_schema import (
    CacheWriter,
    GroupWriter,
    RigFrames,
    Shard,
    TargetSpec,
    TeacherIdentity,
    TeacherKind,
    TeacherRecord,
    empty_frames,
    put_rig,
)
from cache_schema.soft_targets import encode
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.plan import CachePlan, SplitPlan
from stages.cache_teacher.soft_targets import soft_target
from stages.cache_teacher.teachers.base import Teacher
from stages.cache_teacher.teachers.hub_teacher import load_teacher
from stages.device import choose_device
from stages.progress import Progress
from stages.view_relation import pool_tokens, view_relation


@dataclass(frozen=True)
class CacheResult:
    """What stage 1 did: rigs handled in this run, and bytes of the shards it wrote."""

    rigs: int
    bytes: int


@dataclass(frozen=True)
class SplitJob:
    """One split being written: where frames and targets go, and which shards each of them still lacks."""

    split: SplitPlan
    frames: GroupWriter
    targets: GroupWriter
    frames_pending: frozenset[int]
    targets_pending: frozenset[int]

    def shards(self) -> list[Shard]:
        """The shards that lack something."""
        return [s for s in self.frames.shards if s.index in self.frames_pending | self.targets_pending]


def execute(plan: CachePlan, progress: Progress, *, code_version: str) -> CacheResult:
    """Carry out a plan. Raises the errors of the dataset, the teacher and the cache; what is written stays."""
    teacher = load_configured_teacher(plan.config)
    record = TeacherRecord(identity=teacher.identity, targets=target_spec(plan.config, teacher.identity))
    rigs = size = 0
    with CacheWriter(plan.config.cache, plan.identity, plan.config.image, code_version=code_version) as writer:
        for split in plan.splits:
            job = _open_job(writer, plan, split, record)
            done = split.record.rigs - sum(s.stop - s.start for s in job.shards())
            progress.begin(f"cache {split.name}", split.record.rigs, done)
            for shard in job.shards():
                size += _cache_shard(plan, job, shard, teacher, record.targets, progress)
                rigs += shard.stop - shard.start
            writer.complete_split(split.name, job.frames)
            writer.complete_teacher(split.name, plan.teacher_name, job.targets)
    return CacheResult(rigs=rigs, bytes=size)


def load_configured_teacher(config: CacheTeacherConfig) -> Teacher:
    """The teacher of a configuration. Raises TeacherError."""
    settings = config.teacher
    return load_teacher(
        settings.id,
        revision=settings.revision,
        kind=settings.kind,
        flip=settings.flip,
        scales=settings.scales,
        device=choose_device(config.device),
        precision=settings.precision,
    )


def target_spec(config: CacheTeacherConfig, teacher: TeacherIdentity) -> TargetSpec:
    """How the targets of a teacher are stored: a bin head keeps its modes unless the settings say otherwise."""
    settings = config.targets
    default = "topk" if teacher.kind is TeacherKind.BINS else "moments"
    return TargetSpec(
        height=max(config.image.height // settings.grid_divisor, 1),
        width=max(config.image.width // settings.grid_divisor, 1),
        bins=settings.bins,
        quantiles=settings.quantiles,
        encoding=settings.encoding or default,
        topk=settings.topk,
        token_grid=settings.token_grid,
    )


def _open_job(writer: CacheWriter, plan: CachePlan, split: SplitPlan, record: TeacherRecord) -> SplitJob:
    masks = None if plan.ego_masks is None else plan.ego_masks.masks
    frames = writer.add_split(split.name, split.record, masks)
    targets = writer.add_teacher(split.name, plan.teacher_name, record)
    return SplitJob(
        split=split,
        frames=frames,
        targets=targets,
        frames_pending=frozenset(shard.index for shard in frames.pending()),
        targets_pending=frozenset(shard.index for shard in targets.pending()),
    )


def _cache_shard(
    plan: CachePlan, job: SplitJob, shard: Shard, teacher: Teacher, spec: TargetSpec, progress: Progress
) -> int:
    """From raw frames to checked bytes; returns how many. Rigs pass one at a time, so memory holds one shard."""
    wants_frames = shard.index in job.frames_pending
    wants_targets = shard.index in job.targets_pending
    count = shard.stop - shard.start if wants_frames else 0
    frames = empty_frames(count, plan.identity, plan.config.image, job.split.record)
    targets = []
    for row, rig in enumerate(_rigs(plan, job.split, shard)):
        if wants_frames:
            put_rig(frames, row, rig, plan.ego_mask_index(rig.scene), plan.config.image)
        if wants_targets:
            targets.append(_rig_targets(teacher, rig, plan, spec))
        progress.advance()
    size = job.frames.write(shard, frames).bytes if wants_frames else 0
    if wants_targets:
        stacked = {name: np.stack([row[name] for row in targets]) for name in targets[0]}
        size += job.targets.write(shard, stacked).bytes
    return size


def _rigs(plan: CachePlan, split: SplitPlan, shard: Shard) -> Iterator[RigFrames]:
    """The rigs of a shard; the next one is read and decoded while the teacher looks at the present one."""
    samples = split.samples[shard.start : shard.stop]
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(plan.dataset.load, split.name, samples[0])
        for sample in [*samples[1:], None]:
            rig = following.result()
            if sample is not None:
                following = reader.submit(plan.dataset.load, split.name, sample)
            yield rig


def _rig_targets(teacher: Teacher, rig: RigFrames, plan: CachePlan, spec: TargetSpec) -> dict[str, np.ndarray]:
    output = teacher(rig.images)
    target = soft_target(output.predictions, _grid_mask(plan, rig, spec), spec)
    tokens = pool_tokens(output.features, spec.token_grid)
    relation: Float16[np.ndarray, "pair T T"] = (
        view_relation(tokens, plan.identity.adjacent_pairs).cpu().numpy().astype(np.float16)
    )
    return {**encode(target, spec), "view_relation": relation}


def _grid_mask(plan: CachePlan, rig: RigFrames, spec: TargetSpec) -> Bool[np.ndarray, "V h w"]:
    """False where a cell of the target grid holds any of the own car."""
    grid = np.ones((len(rig.images), spec.height, spec.width), bool)
    if plan.ego_masks is not None:
        masks = torch.from_numpy(plan.ego_masks.masks).float()[:, None]
        world = F.adaptive_avg_pool2d(masks, (spec.height, spec.width))[:, 0].numpy() == 1
        for view, mask in enumerate(plan.ego_mask_index(rig.scene)):
            if mask >= 0:
                grid[view] = world[mask]
    return grid
