"""Checkpoints: all that a run needs to go on as if it had never stopped.

A checkpoint appears under its name only when it is whole and on the disk; what an interruption leaves behind
has another name and is swept away at the next start.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from cache_schema.durable import sync_file, sync_folder
from cache_schema.errors import TrainingError
from cache_schema.manifest import Record
from stages.train.average import AverageStudent
from stages.train.learner import Learner
from stages.train.sampler import StreamState
from stages.train.stored import read_record
from stages.train.student import Student, save_student
from stages.train.student.files import read_weights

KEPT = 2
"""Checkpoints that are kept, besides the best."""
STATE = "state.json"
TENSORS = "training.pt"
_PARTIAL = ".partial"


class Best(Record):
    """The best score so far: AbsRel on the validation rigs, and after which step."""

    step: int
    abs_rel: float


class TrainState(Record):
    """How far a run is: `step` steps are done, and the streams of rigs stand at `stream` and `unlabelled`."""

    step: int
    stream: StreamState
    unlabelled: StreamState | None = None
    """None where all rigs have LiDAR."""
    best: Best | None = None
    """None before the first validation."""
    stale: int = 0
    """Validations since the best."""

    @property
    def is_best(self) -> bool:
        """Whether the last step has the best score."""
        return self.best is not None and self.best.step == self.step

    def scored(self, abs_rel: float) -> TrainState:
        """The state after a validation."""
        if self.best is None or abs_rel < self.best.abs_rel:
            return self.model_copy(update={"best": Best(step=self.step, abs_rel=abs_rel), "stale": 0})
        return self.model_copy(update={"stale": self.stale + 1})


@dataclass
class Training:
    """What changes while training, besides how far it is."""

    learner: Learner
    optimizer: AdamW
    scaler: torch.amp.GradScaler
    average: AverageStudent | None

    @property
    def student(self) -> Student:
        """The one to use: the average where there is one."""
        return self.learner.student if self.average is None else self.average.module


def save_checkpoint(run: Path, state: TrainState, training: Training) -> None:
    """Write a checkpoint and remove all but the last two and the best. Its folder can be loaded as a student."""
    learner, student = _parts(training.learner)
    tensors = {
        "learner": learner if training.average is None else learner | student,
        "optimizer": training.optimizer.state_dict(),
        "scaler": training.scaler.state_dict(),
        "cpu_random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }

    def fill(folder: Path) -> None:
        save_student(folder, training.student)
        _save(tensors, folder / TENSORS)
        (folder / STATE).write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")

    write_folder(checkpoint_folder(run, state.step), fill)
    for old in checkpoints(run)[:-KEPT]:
        if state.best is None or old != checkpoint_folder(run, state.best.step):
            remove_folder(old)


def load_checkpoint(folder: Path, training: Training) -> TrainState:
    """Put a checkpoint back, random numbers included. Raises TrainingError where it is damaged."""
    state = read_state(folder)
    read_weights(training.student, folder)
    file = folder / TENSORS
    try:
        tensors: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        training.learner.load_state_dict(_parts(training.learner)[1] | tensors["learner"])
        training.optimizer.load_state_dict(tensors["optimizer"])
        training.scaler.load_state_dict(tensors["scaler"])
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{file} is damaged ({error}); {_remedy(folder)}") from error
    if training.average is not None:
        training.average.n_averaged.fill_(state.step)
    torch.set_rng_state(tensors["cpu_random"])
    if len(tensors["cuda_random"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(tensors["cuda_random"])
    return state


def _save(tensors: dict[str, Any], path: Path) -> None:
    """Raises OSError where the disk is full: of that, PyTorch says neither what happened nor where."""
    with path.open("wb") as file:
        try:
            torch.save(tensors, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _parts(learner: Learner) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What only training needs, and the student."""
    weights = learner.state_dict()
    student = {name: value for name, value in weights.items() if name.startswith("student.")}
    return {name: value for name, value in weights.items() if name not in student}, student


def read_state(folder: Path) -> TrainState:
    """How far a checkpoint is. Raises TrainingError where it is damaged."""
    return read_record(TrainState, folder / STATE, _remedy(folder))


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint after that step is."""
    return _folder(run) / f"step_{step:06d}"


def checkpoints(run: Path) -> list[Path]:
    """Folders of a run's checkpoints, oldest first."""
    found = [path for path in _folder(run).glob("step_*") if not path.name.endswith(_PARTIAL)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that `fill` writes into, so that it appears whole or not at all, even after a power cut."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(folder.name + _PARTIAL)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        fill(aside)
        for file in aside.iterdir():
            sync_file(file)
        sync_folder(aside)
        os.replace(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)  # it takes room, which may be what is lacking
        raise
    sync_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder; interrupted, it leaves one that `sweep` knows."""
    aside = folder.with_name(folder.name + _PARTIAL)
    os.replace(folder, aside)
    shutil.rmtree(aside)


def stored_bytes(run: Path) -> int:
    """Bytes that a run's checkpoints take, half written ones included."""
    return sum(file.stat().st_size for file in _folder(run).glob("*/*") if file.is_file())


def sweep(run: Path) -> None:
    """Remove what an interrupted run left half written or half removed."""
    for parent in (run, _folder(run)):
        for leftover in parent.glob(f"*{_PARTIAL}"):
            shutil.rmtree(leftover)


def _folder(run: Path) -> Path:
    return run / "checkpoints"


def _remedy(folder: Path) -> str:
    return f"remove {folder} to go on from the checkpoint before it, or choose another --run"
