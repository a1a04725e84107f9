"""What a training of the street teacher is made of."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator

from cache_schema.manifest import Record
from stages.cache_teacher.teachers.street.model import COARSEST_PX

Precision = Literal["auto", "float32", "bfloat16"]


class Budget(Record):
    """When training ends: after so many steps, which gives the same weights each time, or so many minutes."""

    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Budget:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("expected either steps or minutes")
        return self

    def progress(self, step: int, seconds: int | float) -> float:
        """The share of the training that is done, from 0 to 1."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.minutes is not None
        return min(seconds / (60 * self.minutes), 1.0)


class TrainingSettings(Record):
    """All that the weights depend on, beside the budget."""

    seed: int = 0
    height: int = Field(default=96, multiple_of=COARSEST_PX, gt=0)
    width: int = Field(default=160, multiple_of=COARSEST_PX, gt=0)
    channels: tuple[int, ...] = (16, 48, 96, 192, 288)
    decoder_channels: tuple[int, ...] = (16, 32, 64, 128)
    rigs_per_town: int = Field(default=6, ge=1)
    batch: int = Field(default=12, ge=2)
    reuse: float = Field(default=8.0, gt=0)
    """How often a picture is drawn, on average."""
    first_towns: int = Field(default=8, ge=1)
    """Towns that are there when training starts."""
    kept_towns: int = Field(default=1500, ge=1)
    """Towns on the disk at most; at 96x160 one of six rigs takes 2.8 MB."""
    lr: float = Field(default=2e-3, gt=0)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the training in which the learning rate rises."""
    weight_decay: float = Field(default=0.02, ge=0)
    clip_norm: float = Field(default=2.0, gt=0)
    average: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the moving average of the weights, which is what is published."""
    precision: Precision = "auto"


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """What `auto` means on a device: bfloat16 where it has instructions for it."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    known = getattr(torch.cpu, "get_capabilities", None)  # newer than the oldest torch we take
    capabilities = known() if known is not None else {}
    has = device.type == "cpu" and (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bfloat16" if has else "float32"
