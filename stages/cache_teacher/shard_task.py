"""The unit of stage 1's work: one shard, from raw frames to verified bytes in the journal.

A task is small to send: what is large (the teacher, the ego masks) each process opens once, and keeps.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor
from torch.nn import functional as F

from cache_schema import (
    DatasetIdentity,
    GroupWriter,
    RigFrames,
    Shard,
    SplitRecord,
    TargetSpec,
    TeacherRecord,
    ego_masks_digest,
    empty_frames,
    put_rig,
)
from cache_schema.errors import DatasetError, TeacherError
from cache_schema.manifest import no_ego_masks
from cache_schema.soft_targets import encode
from stages.cache_teacher import chosen_teacher
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.cache_teacher.datasets.ego_masks import NO_MASK, EgoMasks, load_ego_masks
from stages.cache_teacher.normalisation import ROUNDING
from stages.cache_teacher.soft_targets import soft_target
from stages.cache_teacher.teachers import Teacher
from stages.cache_teacher.teachers.base import NotFiniteError, TeacherOutput
from stages.cache_teacher.unknown_views import Views, levelled, one_colour
from stages.cache_teacher.unusable import Unusable, try_load
from stages.view_relation import pool_tokens, view_relation

Tell = Callable[[int], None]
"""Called with the number of rigs of the shard that are through."""


@dataclass(frozen=True)
class RunContext:
    """What all tasks of a run share. Small: each process opens from it what is large."""

    run: str
    config: CacheTeacherConfig
    dataset: RigDataset
    identity: DatasetIdentity
    teacher: TeacherRecord | None
    """None where nobody asks the teacher."""
    code_version: str
    readers: int
    """Threads that read and decode frames while the teacher looks at earlier ones."""


@dataclass(frozen=True)
class ShardTask:
    """One shard of a split, and what it lacks: frames, targets, or both."""

    split: str
    shard: Shard
    samples: tuple[SampleRef, ...]
    record: SplitRecord
    frames: GroupWriter | None
    targets: GroupWriter | None

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.split} rigs {self.shard.start}..{self.shard.stop}"


@dataclass(frozen=True)
class ShardResult:
    """What came of a shard: the bytes written, or the samples that kept it from being written."""

    size: int = 0
    damaged: tuple[Unusable, ...] = ()
    unknown: tuple[str, ...] = ()
    """Views of which the teacher said nothing, as people call them."""


class Workbench:
    """What a process needs for any task of a run, opened when it is first needed.

    Tasks may run in several threads: the teacher then serves one at a time, while the others read and write.
    """

    def __init__(self, context: RunContext, device: str) -> None:
        self.context = context
        self._device = device
        self._teacher_in_use = threading.Lock()

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher of the run. Raises TeacherError where this machine has another one under that name."""
        settings, expected = self.context.config.teacher, self.context.teacher
        teacher = chosen_teacher.load(settings, self._device)
        if expected is not None:
            chosen_teacher.require_same(settings, teacher.identity, expected.identity)
        return teacher

    @cached_property
    def ego_masks(self) -> EgoMasks | None:
        """The ego masks of the run."""
        config = self.context.config
        if config.ego_masks is None:
            return None
        size_hw = config.image.height, config.image.width
        return load_ego_masks(config.ego_masks, self.context.identity.cameras, size_hw)

    def require_masks(self, expected_sha256: str | None) -> None:
        """Raise DatasetError where this machine has other ego masks than the cache."""
        if self._masks_sha256 != expected_sha256:
            raise DatasetError(f"the ego masks in {self.context.config.ego_masks} are not those of the cache")

    @cached_property
    def _masks_sha256(self) -> str:
        none = no_ego_masks(self.context.config.image)
        return ego_masks_digest(none if self.ego_masks is None else self.ego_masks.masks)

    def targets(self, rig: RigFrames, spec: TargetSpec) -> dict[str, np.ndarray]:
        """What the teacher says about a rig, as rows of the arrays of its group."""
        with self._teacher_in_use:
            output = self._look(rig)
        predictions = [levelled(each, one_colour(rig.images)) for each in output.predictions]
        rounding = ROUNDING[self.teacher.identity.precision]
        target, scale = soft_target(predictions, self._grid_mask(rig, spec), spec, rounding)
        tokens = pool_tokens(output.features, spec.token_grid)
        relation: Float16[np.ndarray, "pair T T"] = (
            view_relation(tokens, self.context.identity.adjacent_pairs, spec.relation_of)
            .cpu()
            .numpy()
            .astype(np.float16)
        )
        feature = {"feature": in_half_precision(tokens)} if spec.feature_channels else {}
        kept = {"disparity_low": scale.low, "disparity_span": scale.span} if spec.test_time_views else {}
        return {**encode(target, spec), "view_relation": relation, **kept, **feature}

    def _look(self, rig: RigFrames) -> TeacherOutput:
        try:
            return self.teacher(rig.images)
        except NotFiniteError as error:
            cameras = ", ".join(self.context.identity.cameras[view] for view in error.views)
            raise TeacherError(f"{rig.scene} sample {rig.sample}, {cameras}: {error}") from error

    def ego_mask_index(self, scene: str) -> np.ndarray:
        """Which ego mask each camera of a scene has; −1: none."""
        if self.ego_masks is None:
            return np.full(len(self.context.identity.cameras), NO_MASK, np.int16)
        return self.ego_masks.index(scene)

    def _grid_mask(self, rig: RigFrames, spec: TargetSpec) -> Bool[np.ndarray, "V h w"]:
        """False where a cell of the target grid holds any of the own car."""
        grid = np.ones((len(rig.images), spec.height, spec.width), bool)
        if self.ego_masks is not None:
            for view, mask in enumerate(self.ego_mask_index(rig.scene)):
                if mask >= 0:
                    grid[view] = self._world_cells[mask]
        return grid

    @cached_property
    def _world_cells(self) -> Bool[np.ndarray, "M h w"]:
        """False where a cell of the target grid holds any of the own car, per mask."""
        assert self.ego_masks is not None
        assert self.context.teacher is not None
        spec = self.context.teacher.targets
        masks = torch.from_numpy(self.ego_masks.masks).float()[:, None]
        return np.asarray(F.adaptive_avg_pool2d(masks, (spec.height, spec.width))[:, 0].numpy() == 1)


def cache_shard(bench: Workbench, task: ShardTask, tell: Tell) -> ShardResult:
    """From raw frames to checked bytes. Memory holds one shard.

    A shard of which a sample is damaged is not written; the rest of it is still read, to know of all that is. Raises
    the errors of the teacher and the cache, and TeacherError where the teacher says nothing about any of its views.
    """
    context = bench.context
    bench.require_masks(task.record.ego_masks_sha256)
    frames = empty_frames(task.shard.rigs, context.identity, context.config.image, task.record) if task.frames else None
    targets = []
    damaged: list[Unusable] = []
    views = Views(context.identity.cameras)
    for done, rig in enumerate(_rigs(bench, task, frames), start=1):
        if isinstance(rig, Unusable):
            damaged.append(rig)
        elif task.targets and context.teacher and not damaged:
            targets.append(bench.targets(rig, context.teacher.targets))
            views.look(rig, targets[-1])
        if not damaged:
            tell(done)
    if damaged:
        return ShardResult(damaged=tuple(damaged))
    views.require_some(context.config.teacher.id)
    size = task.frames.write(task.shard, frames).size if task.frames and frames else 0
    if task.targets:
        names = [array.name for array in task.targets.group.arrays]
        size += task.targets.write(task.shard, {name: np.stack([row[name] for row in targets]) for name in names}).size
    return ShardResult(size, unknown=tuple(views.unknown))


def _rigs(bench: Workbench, task: ShardTask, frames: dict[str, np.ndarray] | None) -> Iterator[RigFrames | Unusable]:
    """The rigs of a shard, put into `frames`; the next ones are prepared while the teacher looks at this one."""
    context = bench.context

    def prepare(row: int, sample: SampleRef) -> RigFrames | Unusable:
        rig = try_load(context.dataset, task.split, sample, context.identity.native_size)
        if frames is not None and not isinstance(rig, Unusable):
            put_rig(frames, row, rig, bench.ego_mask_index(rig.scene), context.config.image)
        return rig

    with ThreadPoolExecutor(context.readers) as pool:
        ahead: deque[Future[RigFrames | Unusable]] = deque()
        try:
            for row, sample in enumerate(task.samples):
                ahead.append(pool.submit(prepare, row, sample))
                if len(ahead) > context.readers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def in_half_precision(tokens: Float[Tensor, "V T C"]) -> Float16[np.ndarray, "V T C"]:
    """Tokens as they are stored. Raises TeacherError where they are too large for that."""
    half: Float16[np.ndarray, "V T C"] = tokens.half().cpu().numpy()
    if not np.isfinite(half).all():
        raise TeacherError(
            f"a feature of the teacher is {tokens.abs().max().item():.0f}, more than the {np.finfo(np.float16).max:.0f}"
            " that float16 holds; leave out targets.features"
        )
    return half


def default_readers(processes: int) -> int:
    """Reading threads for each of several processes on this machine: half the cores, at most eight."""
    return min(8, max(1, (os.cpu_count() or 1) // (2 * processes)))
