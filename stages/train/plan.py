"""What stage 2 would do: which rigs, which teacher, how many steps, and how many of them are done."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cache_schema import Cache, DatasetIdentity, FrameReader
from cache_schema.arrays import FEATURE, TARGET_ARRAYS, VIEW_RELATION, target_sizes
from cache_schema.errors import CacheMissingError, ConfigError, TrainingError
from cache_schema.manifest import differing_fields, record_digest
from cache_schema.places import require_writable
from cache_schema.storage import LocalStorage
from stages.crowd import refuse_crowd
from stages.device import choose_device
from stages.train import parcel
from stages.train.augment.mirror import mirrored_pairs
from stages.train.checkpoint import KEPT, TrainState, checkpoint_folder, checkpoints, read_state, stored_bytes
from stages.train.config import TrainConfig, UnlabelledConfig
from stages.train.doubts import doubts
from stages.train.loader import RigDataset
from stages.train.metric_teacher import RigReader
from stages.train.precision import refuse_unsupported
from stages.train.readers import PREFETCH
from stages.train.resolve import refuse_unfit_targets, resolve
from stages.train.run_folder import (
    STUDENT,
    TrainingData,
    refuse_another_folder,
    refuse_another_run,
    split_record,
    training_data,
)
from stages.train.scale import refuse_unusable_points
from stages.train.student import Student
from stages.train.student.encoder import backbone_config
from stages.train.student.encoder_source import check_source
from stages.train.student.files import same_student
from stages.wording import counted, size


@dataclass(frozen=True)
class TrainPlan:
    """All that stage 2 would do. Made by `plan`, carried out by `execute`.

    `config` has every default resolved: the teacher's name (none where no loss needs one), the image size, the
    precision. `checkpoint` is where the run goes on, none for a new one.
    """

    config: TrainConfig
    cache: str
    unlabelled_cache: str
    """Where the rigs without LiDAR are; that of the others where there is no other."""
    run: Path
    data: TrainingData
    manifest_sha256: str
    checkpoint: Path | None
    steps: int
    done: TrainState | None
    """How far the run is; none for a new one."""
    weights: int
    finished: bool = False
    """Whether the student is stored already, and nothing is left to do."""
    stored_bytes: int = 0
    """What checkpoints of earlier starts take."""

    @property
    def steps_done(self) -> int:
        """Steps of earlier starts."""
        return 0 if self.done is None else self.done.step

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images to train on, in pixels."""
        return self.config.student.image_size or (self.data.image.height, self.data.image.width)

    @property
    def checkpoint_bytes(self) -> int:
        """Room that the checkpoints take: weights, their average and AdamW's two moments, in float32, of each kept."""
        config, validation = self.config, self.config.validation
        made = -(-self.steps // config.checkpoint_every) + (0 if validation is None else self.steps // validation.every)
        kept = min(KEPT + (validation is not None) + 1, made)  # one more while the newest is written
        return kept * (3 + (config.ema is not None)) * 4 * self.weights

    @property
    def run_bytes(self) -> int:
        """Room that the checkpoints and the trained student take."""
        return self.checkpoint_bytes + 4 * self.weights

    @property
    def batch_bytes(self) -> int:
        """Memory of one batch, of all processes together, as it comes from the readers."""
        config, data = self.config, self.data
        views, (height, width) = len(data.dataset.cameras), self.image_size
        rig = views * height * width * 8  # images, LiDAR depths and ego masks, of 3, 4 and 1 byte
        if data.teacher is not None:
            targets = data.teacher.targets
            sizes = target_sizes(data.dataset, targets, data.split)
            arrays = [*TARGET_ARRAYS[targets.encoding], VIEW_RELATION, *([FEATURE] * (config.losses.features > 0))]
            rig += sum(np.dtype(array.dtype).itemsize * math.prod(array.shape(sizes)[1:]) for array in arrays)
        rigs = config.loader.batch_rigs + (0 if config.unlabelled is None else config.unlabelled.batch_rigs)
        return rigs // config.accumulate * rig

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train."""
        return self.done is not None and self.ends_at(self.done)

    def ends_at(self, state: TrainState) -> bool:
        """Whether training ends there: all steps are done, or the scores have long not improved."""
        validation = self.config.validation
        stale = validation is not None and validation.patience is not None and state.stale >= validation.patience
        return stale or state.step >= self.steps

    def describe(self) -> list[str]:
        """What would be done, one line each, for a person."""
        config, dataset, further = self.config, self.data.dataset, self.data.unlabelled
        rigs, batch = self.data.split.rigs, config.loader.batch_rigs
        height, width = self.image_size
        stopped = ", stopped early" if self.steps_done < self.steps and self.ended else ""
        parts = f" in {config.accumulate} parts" if config.accumulate > 1 else ""
        head = f"{config.student.bins} bins" if config.student.head == "bins" else "no bins"
        done = "all done" if self.finished and self.done is None else f"{self.steps_done} done"
        room = "finished" if self.finished else f"up to {self.checkpoint_bytes / 1e6:.0f} MB of checkpoints"
        lines = [
            f"cache    {self.cache}: {dataset.name} {dataset.version}, split {config.split}, {counted(rigs, 'rig')}"
            f" of {len(dataset.cameras)} views",
            f"teacher  {config.teacher or 'none: LiDAR only'}",
            f"student  {self.weights / 1e6:.1f} M weights, {width} × {height} images, {head}",
            f"steps    {self.steps} of {counted(batch, 'rig')}{parts} ({self.steps * batch / rigs:.1f} epochs),"
            f" {config.precision}; {done}{stopped}",
            f"readers  {self._readers()}",
            f"run      {self.run}, {room}",
        ]
        if config.losses.needs_metric_teacher:
            lines.insert(
                2,
                f"metric   its scale is fitted first to the LiDAR of split {config.split}; {self._metric_uses()}",
            )
        if config.unlabelled is not None and further is not None:
            lines.insert(
                1,
                f"without  LiDAR: {self.unlabelled_cache}, split {config.unlabelled.split},"
                f" {counted(further.split.rigs, 'rig')}; {config.unlabelled.batch_rigs} more in each step",
            )
        if config.validation is not None and self.data.validation is not None:
            rigs = min(config.validation.rigs or self.data.validation.rigs, self.data.validation.rigs)
            lines.insert(
                -1,
                f"watched  every {counted(config.validation.every, 'step')} on {counted(rigs, 'rig')} of split"
                f" {config.validation.split}",
            )
        return lines + [f"doubtful {doubt}" for doubt in doubts(config, self.data, self.steps)]

    def _metric_uses(self) -> str:
        losses, uses = self.config.losses, []
        if losses.metric_depth > 0:
            uses.append(f"its depth counts {losses.metric_depth:g} times as much as all LiDAR points of a batch")
        if losses.kl_is_metric:
            uses.append(f"its bins are compared in metres, weight {losses.ckd * losses.kl:g}")
        return ", ".join(uses)

    def _readers(self) -> str:
        workers = min(self.config.loader.workers, max(self.steps - self.steps_done, 1))
        batch = size(self.batch_bytes)
        if workers == 0:
            return f"none: this process reads batches of {batch} itself"
        way = "in memory files, not in /dev/shm" if parcel.SHARES_MEMORY else "sent: this system has no memory files"
        return f"{workers}, up to {workers * PREFETCH} batches of {batch} ahead, {way}"


def plan(config: TrainConfig, cache: str | Path, run: Path) -> TrainPlan:
    """Look at the cache and the run's folder, change nothing.

    Raises CacheMissingError or CacheIncompleteError for a split or teacher that cannot be read, ConfigError for
    settings that contradict the cache, and for a folder that holds something else than a run or cannot be written,
    TrainingError for one that holds another run, or a disk without room for this one.
    """
    refuse_crowd("loader.workers", config.loader.workers)
    opened = Cache(cache)
    frames = opened.split(config.split)
    if isinstance(opened.storage, LocalStorage) and run.resolve().is_relative_to(opened.storage.root.resolve()):
        raise ConfigError(f"the run {run} would lie inside the cache {cache}; choose another --run")
    refuse_another_folder(run)
    _refuse_without_points(
        frames,
        f"{opened.location}: the rigs of split {config.split} have no LiDAR point, from which the scale comes; train"
        f" on a cache with LiDAR, and let this one teach beside it: --unlabelled {opened.location}",
    )
    resolved = resolve(config, opened.manifest, opened.location)
    _refuse_without_usable_points(resolved, opened)
    metric = resolved.losses.needs_metric_teacher
    if resolved.teacher is not None:
        opened.targets(config.split, resolved.teacher, features=resolved.losses.features > 0)
        if metric:
            RigReader(opened, config.split, resolved.teacher, resolved.metric_teacher)
    data = training_data(opened.manifest, resolved.split, resolved.teacher, raw_scale=metric)
    if data.teacher is not None:
        targets = data.teacher.targets
        refuse_unfit_targets(resolved, targets.bins.count, targets.normalisation)
    if resolved.augment.mirror > 0:
        mirrored_pairs(data.dataset.adjacent_pairs, len(data.dataset.cameras))
    unlabelled_cache = opened
    if resolved.unlabelled is not None:
        unlabelled_cache = Cache(resolved.unlabelled.cache or cache)
        if (unlabelled_cache.location, resolved.unlabelled.split) == (opened.location, resolved.split):
            raise ConfigError(
                f"{cache}: split {resolved.split} is both the rigs with LiDAR and those without; name another cache"
                " with --unlabelled, or another unlabelled.split"
            )
        data = data.model_copy(
            update={"unlabelled": _unlabelled(resolved.unlabelled, unlabelled_cache, resolved, data)}
        )
    if resolved.validation is not None:
        split = resolved.validation.split
        reason = f"{opened.location}: the rigs of split {split} have no LiDAR point to score at; set validation.split"
        _refuse_without_points(opened.split(split), reason)
        data = data.model_copy(update={"validation": split_record(opened.manifest, split)})
    last = next(reversed(checkpoints(run)), None)
    if last is not None or (run / STUDENT).exists():
        refuse_another_run(run, resolved, data)
    made = TrainPlan(
        config=resolved,
        cache=opened.location,
        unlabelled_cache=unlabelled_cache.location,
        run=run,
        data=data,
        manifest_sha256=record_digest(opened.manifest),
        checkpoint=last,
        steps=resolved.steps_for(data.split.rigs),
        done=None if last is None else read_state(last),
        weights=_count_weights(resolved),
        stored_bytes=stored_bytes(run),
    )
    if _is_finished(made):
        return replace(made, finished=True)
    if not made.ended:
        _refuse_without_space(made)
    require_writable(run, "--run")
    refuse_unsupported(resolved.precision, choose_device(resolved.device))
    if resolved.encoder_weights is not None and last is None:
        check_source(resolved.encoder_weights, backbone_config(resolved.student.encoder))
    return made


def _is_finished(plan: TrainPlan) -> bool:
    """Whether the student is there, and that of its checkpoint: someone may have removed checkpoints for room."""
    student = plan.run / STUDENT
    if plan.done is None:
        return student.exists()
    best = checkpoint_folder(plan.run, plan.done.step if plan.done.best is None else plan.done.best.step)
    return plan.ended and (same_student(best, student) if best.exists() else student.exists())


def _refuse_without_space(made: TrainPlan) -> None:
    """Raise TrainingError where the run would fill the disk."""
    disk = shutil.disk_usage(next(folder for folder in (made.run, *made.run.absolute().parents) if folder.exists()))
    needed = made.run_bytes - made.stored_bytes
    if disk.total > 0 and disk.free < needed:  # some network file systems do not say how large they are
        raise TrainingError(
            f"{made.run}: checkpoints and student take {size(needed)} more, and {size(disk.free)} are free; free some,"
            " or choose another --run"
        )


def _refuse_without_points(frames: FrameReader, reason: str) -> None:
    """Raise ConfigError where neither the first nor the last rig has a LiDAR point, read or not."""
    if not any(len(view.depth_m) for rig in (frames[0], frames[len(frames) - 1]) for view in rig.lidar):
        raise ConfigError(reason)


def _refuse_without_usable_points(config: TrainConfig, cache: Cache) -> None:
    """Raise TrainingError where no point teaches the scale; `config` is resolved."""
    assert config.student.image_size is not None
    rigs = RigDataset(
        cache.split(config.split),
        None,
        native_size=cache.manifest.dataset.native_size,
        image_size=config.student.image_size,
    )
    refuse_unusable_points(rigs, config.student, f"{cache.location}: split {config.split}")


def _unlabelled(further: UnlabelledConfig, cache: Cache, config: TrainConfig, data: TrainingData) -> TrainingData:
    """Rigs without LiDAR, which must look like the others and be labelled by the same teacher in the same way."""
    cache.split(further.split)
    assert config.teacher is not None
    if config.teacher not in cache.manifest.teachers:
        raise CacheMissingError(
            f"{cache.location}: has no teacher {config.teacher}, which labels the rigs with LiDAR; add it with:"
            f" fsmde cache-teacher … --cache {cache.location}"
        )
    cache.targets(further.split, config.teacher)
    metric = config.losses.needs_metric_teacher
    if metric:
        RigReader(cache, further.split, config.teacher, config.metric_teacher)
    found = training_data(cache.manifest, further.split, config.teacher, raw_scale=metric)
    assert data.teacher is not None
    assert found.teacher is not None
    differences = differing_fields(data.teacher, found.teacher, words=("with LiDAR", "without"))
    if _ring(data.dataset) != _ring(found.dataset):
        differences.append(f"cameras: {_ring(data.dataset)} with LiDAR, {_ring(found.dataset)} without")
    if differences:
        raise ConfigError(
            f"{cache.location}: its rigs cannot stand beside those with LiDAR; different are {'; '.join(differences)};"
            " cache both with the same settings"
        )
    return found


def _ring(dataset: DatasetIdentity) -> str:
    pairs = ", ".join(f"{i}–{j}" for i, j in dataset.adjacent_pairs)
    return f"{len(dataset.cameras)} of which are neighbours {pairs}"


def _count_weights(config: TrainConfig) -> int:
    with torch.device("meta"):  # shapes without numbers
        student = Student(config.student)
    return sum(parameter.numel() for parameter in student.parameters())
