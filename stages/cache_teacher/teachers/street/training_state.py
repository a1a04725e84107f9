"""A training on disk: one file that holds all that is needed to go on as if it had never stopped."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn
from torch.optim import AdamW

from cache_schema.durable import write_atomic
from cache_schema.errors import TrainingError
from cache_schema.manifest import differing_fields
from stages.cache_teacher.teachers.street.settings import TrainingSettings

FILE = "training.pt"


@dataclass
class Training:
    """A network, the moving average of its weights, its optimizer, and how far they are."""

    network: nn.Module
    optimizer: AdamW
    step: int = 0
    seconds: float = 0.0
    average: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average towards the weights; quicker in the first steps, when it knows little."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def save_training(run: Path, training: Training, settings: TrainingSettings) -> None:
    """Write a training; whoever reads, or a crash, sees the old file or the new one, whole."""
    content = io.BytesIO()
    state = {
        "settings": settings.model_dump_json(),
        "step": training.step,
        "seconds": training.seconds,
        "network": training.network.state_dict(),
        "average": training.average.state_dict(),
        "optimizer": training.optimizer.state_dict(),
    }
    torch.save(state, content)
    write_atomic(run / FILE, content.getvalue())


def load_training(run: Path, training: Training, settings: TrainingSettings) -> None:
    """Put a stored training back, if there is one.

    Raises TrainingError where the file is damaged, or holds a training with other settings.
    """
    file = run / FILE
    if not file.exists():
        return
    remedy = f"remove {run} to start anew, or choose another --run"
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        stored = TrainingSettings.model_validate_json(state["settings"])
    except (OSError, RuntimeError, KeyError, EOFError, ValidationError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{file} is damaged ({error}); {remedy}") from error
    if differences := differing_fields(stored, settings):
        raise TrainingError(f"{file} is of another training: {'; '.join(differences)}; {remedy}")
    training.network.load_state_dict(state["network"])
    training.average.load_state_dict(state["average"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.step, training.seconds = state["step"], state["seconds"]
