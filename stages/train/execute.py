"""Stage 2 at work: batches from the cache, one step after the other, until the student is trained.

An interrupted run goes on from its last checkpoint and, on the same machine, ends as if never interrupted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from cache_schema import Cache
from cache_schema.errors import TrainingError
from stages.device import choose_device
from stages.progress import Progress
from stages.train.batch import TrainBatch
from stages.train.checkpoint import TrainState, load_checkpoint, remove_folder, save_checkpoint, sweep, write_folder
from stages.train.config import TrainConfig
from stages.train.curves import Curves
from stages.train.loader import RigDataset, VisitedRigs, make_loader, read_batches
from stages.train.optimizer import clip_gradient, learning_rate, make_optimizer, take_step
from stages.train.plan import TrainPlan
from stages.train.precision import make_scaler
from stages.train.run_folder import STUDENT, TENSORBOARD, TrainingData, only_trainer, start_session, this_session
from stages.train.sampler import BatchStream, MixedStream, StreamState, Visit
from stages.train.step import batch_loss
from stages.train.stop import StopRequest
from stages.train.student import Student, save_student
from stages.train.student.encoder import load_encoder_weights


@dataclass(frozen=True)
class TrainResult:
    """What stage 2 did: steps taken by this call, its last losses by name, and the folder of the student."""

    steps: int
    losses: dict[str, float]
    student: Path


def execute(plan: TrainPlan, progress: Progress, *, code_version: str) -> TrainResult:
    """Carry out a plan. Raises TrainingError on a loss that is not finite, and the errors of the cache.

    Whatever happens, the last checkpoint stays; the same plan made anew goes on from there.
    """
    with only_trainer(plan.run):
        device = choose_device(plan.config.device)
        student = first_student(plan).to(device)
        session = this_session(plan.steps_done, device, code_version)
        start_session(plan.run, plan.config, plan.data, plan.manifest_sha256, session)
        sweep(plan.run)
        return train(plan, student, device, progress)


def train(plan: TrainPlan, student: Student, device: torch.device, progress: Progress) -> TrainResult:
    """The loop."""
    config = plan.config
    student.train()
    optimizer = make_optimizer(student, config.optimizer)
    scaler = make_scaler(config.precision, device)
    state = first_state(config)
    if plan.checkpoint is not None:
        state = load_checkpoint(plan.checkpoint, student, optimizer, scaler)

    losses: dict[str, float] = {}
    progress.begin("train", plan.steps, state.step)
    with Curves(plan.run / TENSORBOARD, state.step, config.log_every) as curves, StopRequest() as stop:
        for batch in stop.until(read_batches(open_loader(plan, state, device))):
            lr = learning_rate(state.step, plan.steps, config.optimizer)
            loss, terms = batch_loss(student, batch.to(device), config, plan.data, state.step / plan.steps)
            torch.autograd.backward(scaler.scale(loss))
            gradient = clip_gradient(student, optimizer, scaler, config.optimizer.clip_norm)
            losses = to_numbers({"loss": loss, **terms, "gradient": gradient})
            refuse_not_finite(losses, state.step, batch, plan.run, scaled=scaler.is_enabled())
            take_step(optimizer, scaler, lr)

            state = next_state(plan, state)
            progress.advance(1, **losses)
            curves.draw(state.step, {**losses, "lr": lr})
            if state.step % config.checkpoint_every == 0 or state.step == plan.steps:
                save_checkpoint(plan.run, state, student, optimizer, scaler)
    if state.step < plan.steps:
        save_checkpoint(plan.run, state, student, optimizer, scaler)
        raise KeyboardInterrupt
    return TrainResult(state.step - plan.steps_done, losses, store_student(plan.run, student))


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
    return TrainState(step=state.step + 1, stream=stream, unlabelled=unlabelled)


def open_loader(plan: TrainPlan, state: TrainState, device: torch.device) -> DataLoader[TrainBatch]:
    """The batches that are left, from where the streams of rigs stand."""
    config, data = plan.config, plan.data
    rigs = [_rigs(plan, plan.cache, config.split, data)]
    batches: Sampler[list[Visit]]
    batches = first = _stream(plan, state.stream, state.step, data, config.loader.batch_rigs)
    if config.unlabelled is not None and data.unlabelled is not None and state.unlabelled is not None:
        rigs.append(_rigs(plan, plan.unlabelled_cache, config.unlabelled.split, data.unlabelled, lidar=False))
        batch_rigs = config.unlabelled.batch_rigs
        batches = MixedStream(first, _stream(plan, state.unlabelled, state.step, data.unlabelled, batch_rigs, stream=1))
    dataset = VisitedRigs(rigs, config.augment, views=len(data.dataset.cameras), pairs=data.dataset.adjacent_pairs)
    workers = min(config.loader.workers, len(first))
    return make_loader(dataset, batches, workers=workers, pin_memory=device.type == "cuda")


def _rigs(plan: TrainPlan, cache: str, split: str, data: TrainingData, *, lidar: bool = True) -> RigDataset:
    opened, teacher = Cache(cache), plan.config.teacher
    return RigDataset(
        opened.split(split),
        None if teacher is None else opened.targets(split, teacher, features=plan.config.losses.features > 0),
        native_size=data.dataset.native_size,
        image_size=plan.image_size,
        lidar=lidar,
    )


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


def to_numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as plain numbers, fetched from the device in one go."""
    return dict(zip(values, torch.stack([value.detach() for value in values.values()]).tolist(), strict=True))


def refuse_not_finite(losses: dict[str, float], step: int, batch: TrainBatch, run: Path, *, scaled: bool) -> None:
    """Raise TrainingError if a loss, or the gradient, is not finite.

    A `scaled` gradient may overflow: then the scaler skips the step and scales less.
    """
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad and not (scaled and bad == ["gradient"]):
        raise TrainingError(
            f"{', '.join(bad)} not finite in step {step + 1}, with rigs {', '.join(batch.rigs)}; the last checkpoint"
            f" in {run} is kept; look at these rigs, or choose another --run with a lower optimizer.lr"
        )


def store_student(run: Path, student: Student) -> Path:
    """Put the trained student where stage 3 looks for it."""
    folder = run / STUDENT
    if folder.exists():
        remove_folder(folder)
    write_folder(folder, lambda aside: save_student(aside, student))
    return folder
