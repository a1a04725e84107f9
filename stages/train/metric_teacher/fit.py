"""The fit of a metric teacher, from the store alone: cross-fitted over scenes, and judged on rigs it did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cache_schema import Cache
from cache_schema.errors import TrainingError
from cache_schema.manifest import record_digest
from stages.progress import Progress, Silent
from stages.train.config import MetricTeacherConfig
from stages.train.metric_teacher.cues import Points, RigCues, choose, stack
from stages.train.metric_teacher.head import Limits, ScaleHead, ScaleShift, l_gt
from stages.train.metric_teacher.rigs import RigReader
from stages.train.metric_teacher.teacher import CrossFit, MetricTeacher, MetricTeacherRecord
from stages.train.run_folder import training_data
from stages.wording import counted

_LAST_RATE = 0.02
"""Of the learning rate, at the end of its cosine."""
_LARGEST_GRADIENT = 1.0


def fit_metric_teacher(
    cache: Cache,
    split: str,
    teacher: str,
    config: MetricTeacherConfig | None = None,
    progress: Progress | None = None,
) -> MetricTeacher:
    """Fit scale and shift of a teacher's views to the LiDAR points of a split, whose rigs are read once.

    Raises TrainingError where less than two scenes have points, or where the fit is no better than one scale for all
    views on rigs that it did not see; and the errors of `RigReader`.
    """
    reader = RigReader(cache, split, teacher, config or MetricTeacherConfig())
    where = f"{cache.location}: teacher {teacher} on split {split}"
    with_lidar = [i for i in range(len(reader)) if reader.frames.lidar_count(i).any()]
    ground_z_m = reader.ground_height_m(with_lidar) if reader.config.ground and with_lidar else None
    progress = progress or Silent()
    progress.begin(f"fit metric teacher {teacher}", len(with_lidar))
    labelled, cues, points = _read(reader, with_lidar, ground_z_m, progress, where)
    scenes = [reader.frames.scene(i) for i in labelled]
    fold_of = _folds(scenes, reader.config, where)
    fold = torch.tensor([fold_of[scene] for scene in scenes])
    heads = [_fit(choose(cues, fold != k), choose(points, fold != k), reader) for k in range(int(fold.max()) + 1)]
    limits_m = reader.limits_m
    cross_fit = CrossFit(
        abs_rel=_unseen(heads, cues, points, fold, limits_m, ScaleHead.__call__),
        one_scale_abs_rel=_unseen(heads, cues, points, fold, limits_m, ScaleHead.one_scale),
        rigs=len(labelled),
        scenes=len(fold_of),
    )
    _refuse_no_better(cross_fit, where)
    record = MetricTeacherRecord(
        teacher=teacher,
        split=split,
        config=reader.config,
        data=training_data(cache.manifest, split, teacher),
        manifest_sha256=record_digest(cache.manifest),
        ground_z_m=ground_z_m,
        fold_of=fold_of,
        cross_fit=cross_fit,
    )
    return MetricTeacher(record, nn.ModuleList(heads))


def _folds(scenes: Sequence[str], config: MetricTeacherConfig, where: str) -> dict[str, int]:
    """The fold of each scene, drawn by chance."""
    names = sorted(set(scenes))
    if len(names) < 2:
        raise TrainingError(
            f"{where}: there are LiDAR points in {counted(len(names), 'scene')}; expected two at least, since the error"
            " on scenes that were not fitted must be known"
        )
    order = np.random.default_rng(config.seed).permutation(len(names)).tolist()
    return {names[scene]: place % min(config.folds, len(names)) for place, scene in enumerate(order)}


def _read(
    reader: RigReader, rigs: Sequence[int], ground_z_m: float | None, progress: Progress, where: str
) -> tuple[list[int], RigCues, Points]:
    """Those of the rigs that have points to learn from, with cues and points. Raises TrainingError where none has."""
    labelled, cues, points = [], [], []
    for rig in rigs:
        seen = reader.read(rig, ground_z_m)
        found = reader.points(rig, seen)
        if found.depth_m.any():
            labelled.append(rig)
            cues.append(seen.cues)
            points.append(found)
        progress.advance()
    if not labelled:
        low, high = reader.limits_m
        raise TrainingError(
            f"{where}: no rig has a LiDAR point {low:g} to {high:g} m away, off the own car, where the teacher knows"
            " something; expected some, from which its scale comes: name a split with LiDAR"
        )
    return labelled, stack(cues), stack(points)


def _fit(cues: RigCues, points: Points, reader: RigReader) -> ScaleHead:
    """A head that has learned from some rigs; the same every time."""
    config, rigs = reader.config, len(points.u)
    random = np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = ScaleHead(cues.feature.shape[-1], reader.cameras, config.hidden)
    head.settle(cues, points, reader.limits_m)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, config.steps, eta_min=_LAST_RATE * config.learning_rate
    )
    for _ in range(config.steps):
        some = torch.from_numpy(random.choice(rigs, min(config.batch_rigs, rigs), replace=False))
        loss = l_gt(head(choose(cues, some)), choose(points, some), reader.limits_m)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(head.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
    return head.eval()


@torch.no_grad()
def _unseen(
    heads: Sequence[ScaleHead],
    cues: RigCues,
    points: Points,
    fold: Tensor,
    limits_m: Limits,
    tell: Callable[[ScaleHead, RigCues], ScaleShift],
) -> float:
    """AbsRel over all rigs, each told by the head that did not see its scene: image → camera mean → mean."""
    off = torch.full(points.depth_m.shape[:2], math.nan)
    for k, head in enumerate(heads):
        held = fold == k
        truth_m = points.depth_m[held]
        inverse = tell(head, choose(cues, held)).inverse_depth(points.u[held], limits_m)
        relative = torch.where(truth_m > 0, (1 / inverse - truth_m).abs() / truth_m, math.nan)
        off[held] = relative.nanmean(dim=-1)
    return float(off.nanmean(dim=0).nanmean())


def _refuse_no_better(found: CrossFit, where: str) -> None:
    if not found.abs_rel < found.one_scale_abs_rel:
        raise TrainingError(
            f"{where}: made metric view by view its AbsRel is {found.abs_rel:.5f} on scenes that were not fitted, with"
            f" one scale for all views {found.one_scale_abs_rel:.5f}; expected less: fit it to more scenes than"
            f" {found.scenes}, or with fewer inputs or steps"
        )
