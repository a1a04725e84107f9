"""Stage 2 at work: batches from the cache, one step after the other, until the student is trained.

An interrupted run goes on from its last checkpoint and, on the same machine, ends as if never interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import Sampler

from cache_schema import Cache
from cache_schema.errors import TrainingError
from cache_schema.manifest import record_digest
from stages.progress import Progress, Silent
from stages.stop import StopRequest
from stages.train.average import AverageStudent
from stages.train.batch import TrainBatch
from stages.train.checkpoint import (
    Training,
    TrainState,
    checkpoint_folder,
    load_checkpoint,
    remove_folder,
    save_checkpoint,
    sweep,
    write_folder,
)
from stages.train.config import TrainConfig
from stages.train.curves import Curves
from stages.train.failures import told_in_a_line
from stages.train.learner import Learner
from stages.train.loader import Loader, RigDataset, VisitedRigs
from stages.train.metric_teacher.kept import ScaleShifts, has_scales, keep_metric_teacher, load_scales
from stages.train.optimizer import make_optimizer
from stages.train.plan import TrainPlan
from stages.train.precision import make_scaler
from stages.train.processes import Processes, alone
from stages.train.readers import never, silently
from stages.train.reduce import by_itself
from stages.train.run_folder import STUDENT, TENSORBOARD, TrainingData, only_trainer, start_session, this_session
from stages.train.sampler import BatchStream, MixedStream, StreamState, Visit
from stages.train.share import WHOLE, Share, SharedBatches, refuse_uneven
from stages.train.student import Student, load_student, save_student
from stages.train.student.encoder import load_encoder_weights
from stages.train.student.files import same_student
from stages.train.update import update
from stages.train.watch import Watch
from stages.train.without_points import StepsWithoutPoints
from stages.trained_rigs import TRAINED_RIGS, keep_trained_rigs

Item = TypeVar("Item")


@dataclass(frozen=True)
class TrainResult:
    """What stage 2 did: steps taken by this call, its last losses by name, and the folder of the student."""

    steps: int
    losses: dict[str, float]
    student: Path


def execute(
    plan: TrainPlan, progress: Progress, *, code_version: str, processes: Processes | None = None
) -> TrainResult:
    """Carry out a plan, alone or as one of several `processes`, each of which must be called with the same plan.

    Raises TrainingError on a loss that is not finite, and the errors of the cache. Whatever happens, the last
    checkpoint stays; the same plan made anew goes on from there, with any number of processes.
    """
    processes = alone(plan.config.device) if processes is None else processes
    refuse_different(plan, processes)
    if plan.finished:
        return TrainResult(0, {}, plan.run / STUDENT)
    with ExitStack() as held:
        held.enter_context(told_in_a_line(plan, processes))
        with processes.together():
            refuse_uneven(plan.config, processes.count)
            if processes.main:
                held.enter_context(only_trainer(plan.run))
        with processes.together():
            training = start_training(plan, processes.device)
            if processes.main:
                session = this_session(plan.steps_done, processes.device, processes.count, code_version)
                start_session(plan.run, plan.config, plan.data, plan.manifest_sha256, session)
                keep_of_data(plan, progress)
                sweep(plan.run)
        return train(plan, training, processes, progress if processes.main else Silent())


def train(plan: TrainPlan, training: Training, processes: Processes, progress: Progress) -> TrainResult:
    """The loop."""
    config = plan.config
    folder = plan.run / TENSORBOARD if processes.main else None
    with processes.together():
        state = first_state(config) if plan.checkpoint is None else load_checkpoint(plan.checkpoint, training)
    model = processes.wrap(training.learner)

    losses: dict[str, float] = {}
    without_points = StepsWithoutPoints(plan, processes)
    progress.begin("train", plan.steps, state.step)
    with ExitStack() as held:
        curves = held.enter_context(Curves(folder, state.step, config.log_every))
        stop = held.enter_context(StopRequest())
        with processes.together():
            watch = held.enter_context(Watch(plan, processes, curves, progress, stop.overdue))
            steps = held.enter_context(closing(steps_left(plan, state, processes, lambda: stop.asked, progress.note)))
        read = processes.in_step(stop.until(steps), lambda: stop.asked)
        for parts in saved_before(read, lambda: save_new(plan, state, training, processes)):  # noqa: B023  as it is then
            losses = update(model, training, parts, plan, state, processes)
            without_points.count(losses["lidar"])
            state = next_state(plan, state)
            progress.advance(1, **losses)
            curves.draw(state.step, {**losses, "lr": training.optimizer.param_groups[0]["lr"]})
            state = watch.look(training, state)
            ends = plan.ends_at(state)
            if ends or state.is_best or state.step % config.checkpoint_every == 0:
                curves.flush()  # a run that is killed goes on from the checkpoint, with the points up to it
                save(plan.run, state, training, processes)
            if ends:
                break
    if not plan.ends_at(state):
        save(plan.run, state, training, processes)
        raise stop.interrupt
    with processes.together():
        student = store_student(plan.run, state, training) if processes.main else plan.run / STUDENT
    return TrainResult(state.step - plan.steps_done, losses, student)


def start_training(plan: TrainPlan, device: torch.device) -> Training:
    """What a run begins with; one that goes on overwrites it with its checkpoint."""
    config = plan.config
    # Kernels in memory as convolutions like them best, and as DDP finds their gradients. Always: the fused optimizer
    # goes through weights and moments side by side, so those of a checkpoint must be laid out alike.
    student = first_student(plan).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = Learner(student, config, plan.data).train()
    return Training(
        learner=learner,
        optimizer=make_optimizer(learner, config.optimizer),
        scaler=make_scaler(config.precision, device),
        average=None if config.ema is None else AverageStudent(student, config.ema),
    )


def keep_of_data(plan: TrainPlan, progress: Progress) -> None:
    """Write into the run's folder what is read of all rigs once, unless a run that goes on has it.

    A start that came to no checkpoint may have had other settings.
    """
    config, goes_on = plan.config, plan.checkpoint is not None
    splits = [(Cache(plan.cache), config.split)]
    if config.unlabelled is not None:
        splits.append((Cache(plan.unlabelled_cache), config.unlabelled.split))
    if not (goes_on and (plan.run / TRAINED_RIGS).exists()):
        keep_trained_rigs(plan.run, splits)
    if config.losses.needs_metric_teacher and not (goes_on and has_scales(plan.run)):
        assert config.teacher is not None
        with by_itself():  # the other processes wait
            keep_metric_teacher(plan.run, splits, config.teacher, config.metric_teacher, progress)


def refuse_different(plan: TrainPlan, processes: Processes) -> None:
    """Raise TrainingError where the processes were started for different runs, or do not see the same folder."""
    last = "no checkpoint" if plan.checkpoint is None else str(plan.checkpoint)
    first, *others = processes.gather((record_digest(plan.config), plan.manifest_sha256, last, plan.finished))
    with processes.together():
        if processes.main and any(other != first for other in others):
            raise TrainingError(
                f"the processes do not agree on settings, cache and checkpoint ({last} in the first); start all with"
                " the same command, on a file system that all of them see"
            )


def steps_left(
    plan: TrainPlan,
    state: TrainState,
    processes: Processes,
    stopping: Callable[[], bool] = never,
    tell: Callable[[str], None] = silently,
) -> Generator[tuple[TrainBatch, ...], None, None]:
    """For every step that is left, this process's share of each part of its batch.

    No more where none has come and it is time to stop. Closing it ends those who read.
    """
    if plan.ends_at(state):
        return
    share = Share(processes.rank, processes.count, plan.config.accumulate)
    with open_loader(plan, state, processes.device, share, tell) as loader:
        batches = loader.batches(stopping)
        while len(parts := tuple(islice(batches, share.parts))) == share.parts:
            yield parts


def saved_before(steps: Iterator[Item], save: Callable[[], None]) -> Iterator[Item]:
    """The steps; where the next one cannot be read, what the earlier ones have learned is saved first."""
    try:
        yield from steps
    except Exception:
        save()
        raise


def save(run: Path, state: TrainState, training: Training, processes: Processes) -> None:
    """Write a checkpoint, in the first process, if the step has none."""
    with processes.together():
        if processes.main and not checkpoint_folder(run, state.step).exists():
            save_checkpoint(run, state, training)


def save_new(plan: TrainPlan, state: TrainState, training: Training, processes: Processes) -> None:
    """Write a checkpoint if this start has taken a step: without one, the folder stays free for other settings."""
    if state.step > plan.steps_done:
        save(plan.run, state, training, processes)


def first_student(plan: TrainPlan) -> Student:
    """A student with the weights it starts from; a run that goes on overwrites them with its checkpoint's."""
    config = plan.config
    torch.manual_seed(config.seed)
    student = Student(config.student)
    if config.encoder_weights is not None and plan.checkpoint is None:
        load_encoder_weights(student.encoder, config.student.encoder, config.encoder_weights)
    return student


def first_state(config: TrainConfig) -> TrainState:
    """Where a run begins."""
    stream = StreamState(seed=config.seed)
    return TrainState(step=0, stream=stream, unlabelled=None if config.unlabelled is None else stream)


def next_state(plan: TrainPlan, state: TrainState) -> TrainState:
    """The state after one more step."""
    config, data = plan.config, plan.data
    unlabelled = state.unlabelled
    if config.unlabelled is not None and data.unlabelled is not None and unlabelled is not None:
        unlabelled = unlabelled.advanced(config.unlabelled.batch_rigs, data.unlabelled.split.rigs)
    stream = state.stream.advanced(config.loader.batch_rigs, data.split.rigs)
    return state.model_copy(update={"step": state.step + 1, "stream": stream, "unlabelled": unlabelled})


def open_loader(
    plan: TrainPlan,
    state: TrainState,
    device: torch.device,
    share: Share = WHOLE,
    tell: Callable[[str], None] = silently,
) -> Loader:
    """The share of the batches that are left, from where the streams of rigs stand."""
    config, data = plan.config, plan.data
    open_rigs = partial(
        RigDataset.open, teacher=config.teacher, features=config.losses.features > 0, image_size=plan.image_size
    )
    scales: list[ScaleShifts] = []
    if config.losses.needs_metric_teacher:
        scales = load_scales(plan.run, 1 if config.unlabelled is None else 2)
    rigs = [open_rigs(plan.cache, config.split, scales=scales[0] if scales else None)]
    batches: Sampler[list[Visit]]
    batches = first = _stream(plan, state.stream, state.step, data, config.loader.batch_rigs)
    if config.unlabelled is not None and data.unlabelled is not None and state.unlabelled is not None:
        of_these = scales[1] if scales else None
        rigs.append(open_rigs(plan.unlabelled_cache, config.unlabelled.split, lidar=False, scales=of_these))
        batch_rigs = config.unlabelled.batch_rigs
        batches = MixedStream(first, _stream(plan, state.unlabelled, state.step, data.unlabelled, batch_rigs, stream=1))
    dataset = VisitedRigs(rigs, config.augment, views=len(data.dataset.cameras), pairs=data.dataset.adjacent_pairs)
    workers = min(config.loader.workers, len(first))
    batches = SharedBatches(batches, share)
    source = f"{plan.cache}, split {config.split}"
    return Loader(dataset, batches, workers=workers, pin_memory=device.type == "cuda", source=source, tell=tell)


def _stream(
    plan: TrainPlan, state: StreamState, step: int, data: TrainingData, batch_rigs: int, *, stream: int = 0
) -> BatchStream:
    return BatchStream(
        state,
        rigs=data.split.rigs,
        shard_rigs=data.split.shard_rigs,
        group_shards=plan.config.loader.group_shards,
        batch_rigs=batch_rigs,
        batches=plan.steps - step,
        stream=stream,
    )


def store_student(run: Path, state: TrainState, training: Training) -> Path:
    """Put the student where stage 3 looks for it: the one with the best score, or the last where none was scored.

    One that is there already and the same stays, with its model card.
    """
    chosen = checkpoint_folder(run, state.step if state.best is None else state.best.step)
    folder = run / STUDENT
    if same_student(chosen, folder):
        return folder
    best = None if state.best is None else load_student(chosen)
    if folder.exists():
        remove_folder(folder)
    write_folder(folder, lambda aside: save_student(aside, best or training.student))
    return folder
