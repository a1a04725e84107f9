"""Checkpoints: all that a run needs to go on as if it had never stopped.

A checkpoint appears under its name only when it is whole and on the disk; what an interruption leaves behind
has another name and is swept away at the next start.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from cache_schema.durable import sync_file, sync_folder
from cache_schema.errors import TrainingError
from cache_schema.manifest import Record
from stages.train.sampler import StreamState
from stages.train.stored import read_record
from stages.train.student import Student, save_student
from stages.train.student.files import read_weights

KEPT = 2
STATE = "state.json"
TENSORS = "training.pt"
_PARTIAL = ".partial"


class TrainState(Record):
    """How far a run is: `step` steps are done, and the streams of rigs stand at `stream` and `unlabelled`."""

    step: int
    stream: StreamState
    unlabelled: StreamState | None = None
    """None where all rigs have LiDAR."""


def save_checkpoint(
    run: Path, state: TrainState, student: Student, optimizer: Optimizer, scaler: torch.amp.GradScaler
) -> None:
    """Write a checkpoint and remove all but the last two."""
    tensors = {
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "cpu_random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }

    def fill(folder: Path) -> None:
        save_student(folder, student)
        torch.save(tensors, folder / TENSORS)
        (folder / STATE).write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")

    write_folder(_folder(run) / f"step_{state.step:06d}", fill)
    for old in checkpoints(run)[:-KEPT]:
        remove_folder(old)


def load_checkpoint(folder: Path, student: Student, optimizer: Optimizer, scaler: torch.amp.GradScaler) -> TrainState:
    """Put a checkpoint back, random numbers included. Raises TrainingError where it is damaged."""
    state = read_state(folder)
    read_weights(student, folder)
    file = folder / TENSORS
    try:
        tensors: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(tensors["optimizer"])
        scaler.load_state_dict(tensors["scaler"])
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{file} is damaged ({error}); {_remedy(folder)}") from error
    torch.set_rng_state(tensors["cpu_random"])
    if len(tensors["cuda_random"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(tensors["cuda_random"])
    return state


def read_state(folder: Path) -> TrainState:
    """How far a checkpoint is. Raises TrainingError where it is damaged."""
    return read_record(TrainState, folder / STATE, _remedy(folder))


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
    fill(aside)
    for file in aside.iterdir():
        sync_file(file)
    sync_folder(aside)
    os.replace(aside, folder)
    sync_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder; interrupted, it leaves one that `sweep` knows."""
    aside = folder.with_name(folder.name + _PARTIAL)
    os.replace(folder, aside)
    shutil.rmtree(aside)


def sweep(run: Path) -> None:
    """Remove what an interrupted run left half written or half removed."""
    for parent in (run, _folder(run)):
        for leftover in parent.glob(f"*{_PARTIAL}"):
            shutil.rmtree(leftover)


def _folder(run: Path) -> Path:
    return run / "checkpoints"


def _remedy(folder: Path) -> str:
    return f"remove {folder} to go on from the checkpoint before it, or choose another --run"
