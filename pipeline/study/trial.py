"""One cell of a study's grid: what is trained, on which rigs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.settings import TRAIN_OF_THE_MACHINE
from pipeline.study.data import CachedRigs, digest, given
from stages.train.config import TrainConfig, UnlabelledConfig

Label = str | int | float
"""What a point of an axis is called; a number is also its place."""


@dataclass(frozen=True)
class Trial:
    """A variant at one point of the grid. It is trained and scored once with every seed."""

    name: str
    """Unique in a study."""
    variant: str
    says: str
    training: TrainConfig
    """With any seed: each run has its own."""
    labelled: CachedRigs
    unlabelled: CachedRigs | None = None
    place: Mapping[str, Label] = field(default_factory=dict)
    """Its label on every axis of the grid."""

    @property
    def data(self) -> tuple[CachedRigs, ...]:
        """What it is trained on."""
        return (self.labelled,) if self.unlabelled is None else (self.labelled, self.unlabelled)

    @cached_property
    def decided(self) -> str:
        """Digest of all that decides what comes of it, but for the seed. Raises CacheMissingError."""
        further = self.training.unlabelled
        apart = "" if further is None else given(further, {"cache"})
        alone = what_matters(self.training).model_copy(update={"unlabelled": None})
        return digest(given(alone, {"seed"}), apart, *(rigs.identity(self.training) for rigs in self.data))

    @property
    def folder(self) -> str:
        """Name of its runs' folders: other settings have another, and trials that are the same run share one."""
        return f"{re.sub(r'[^A-Za-z0-9._+=]+', '-', self.variant).strip('-')}-{self.decided[:8]}"


def share_of_steps(
    training: TrainConfig, further: UnlabelledConfig | None, *, learns: bool = True, same_images: bool = True
) -> TrainConfig:
    """Settings with each step's share of rigs without LiDAR, where there are any and a loss learns from them.

    Otherwise (or where it is not to learn from them) others take their place: as many more with LiDAR, so that all
    trials see as many images in a step, unless `same_images` is false.
    """
    if further is None:
        return training
    if learns and training.losses.teaches_without_lidar:
        return training.model_copy(update={"unlabelled": further})
    more = further.batch_rigs if same_images else 0
    loader = training.loader.model_copy(update={"batch_rigs": training.loader.batch_rigs + more})
    return training.model_copy(update={"loader": loader})


def what_matters(training: TrainConfig) -> TrainConfig:
    """Settings with the defaults of those that change nothing in the result."""
    return TrainConfig.model_validate(training.model_dump(exclude=TRAIN_OF_THE_MACHINE))
