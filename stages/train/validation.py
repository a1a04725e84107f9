"""The rigs that training is watched on, and the score there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import BatchSampler

from cache_schema.errors import TrainingError
from stages.train.batch import TrainBatch
from stages.train.config import ValidationConfig
from stages.train.loader import Loader, RigDataset
from stages.train.losses import masked_mean
from stages.train.plan import TrainPlan
from stages.train.precision import autocast
from stages.train.processes import Processes
from stages.train.readers import never, silently
from stages.train.student import Student
from stages.train.targets import usable_points


class Validation:
    """Scores students on the same rigs again and again, until closed; every process reads its share of them."""

    def __init__(
        self,
        plan: TrainPlan,
        config: ValidationConfig,
        processes: Processes,
        stopping: Callable[[], bool] = never,
        tell: Callable[[str], None] = silently,
    ) -> None:
        rigs = watched_rigs(plan, config.split, None)
        self._chosen = spread(len(rigs), config.rigs)[processes.rank :: processes.count]
        self._processes = processes
        self._plan = plan
        self._split = config.split
        self._stopping = stopping
        self._loader = Loader(
            rigs,
            BatchSampler(self._chosen, 1, drop_last=False),
            workers=min(plan.config.loader.workers, len(self._chosen)),
            pin_memory=processes.device.type == "cuda",
            source=f"{plan.cache}, split {config.split}",
            tell=tell,
        )

    def close(self) -> None:
        """End those who read."""
        self._loader.close()

    def abs_rel(self, student: Student) -> float:
        """AbsRel = mean(|g − p| / g) at the LiDAR points g of an image, on its grid at training; mean over images.

        An image without a usable point does not count. The same for any number of processes. Raises TrainingError
        where there is no point at all, the score is not finite, or it is time to stop and no rig comes.
        """
        here: list[float] = []
        with self._processes.together(), predicting(student):
            scored = 0
            for batch in self._loader.batches(self._stopping):
                here += self._each_image(student, batch.to(self._processes.device))
                scored += 1
            if scored < len(self._chosen):
                raise TrainingError(
                    f"asked to stop while waiting for rigs of split {self._split} to score on; the last checkpoint in"
                    f" {self._plan.run} is kept, and the same command goes on from it"
                )
        values = [value for part in self._processes.gather(here) for value in part]
        with self._processes.together():
            if not values:
                raise TrainingError(
                    f"{self._plan.cache}: no rig of split {self._split} has a LiDAR point that the student can express"
                    " (student.d_min_m to student.d_max_m); set validation.split, or validation.rigs to more of them"
                )
            if not all(map(math.isfinite, values)):
                raise TrainingError(
                    f"AbsRel on split {self._split} is not finite; choose another --run with a lower optimizer.lr"
                )
        return math.fsum(values) / len(values)  # fsum: whatever the order

    def _each_image(self, student: Student, batch: TrainBatch) -> list[float]:
        config = self._plan.config
        with autocast(config.precision, batch.images.device):
            depth_m = student(batch.images).depth_m
        points = usable_points(batch.lidar_depth_m, config.student)
        error = (depth_m - batch.lidar_depth_m).abs() / batch.lidar_depth_m.masked_fill(~points, 1)
        means: list[float] = masked_mean(error, points, dim=(2, 3))[points.any(dim=(2, 3))].flatten().tolist()
        return means


def watched_rigs(plan: TrainPlan, split: str, teacher: str | None) -> RigDataset:
    """The rigs of a split as they are, with a teacher's targets where one is named."""
    return RigDataset.open(plan.cache, split, teacher=teacher, image_size=plan.image_size)


def spread(rigs: int, wanted: int | None) -> Sequence[int]:
    """So many of the rigs, evenly spread; all where there are no more."""
    count = min(wanted or rigs, rigs)
    chosen: list[int] = (np.arange(count) * rigs // count).tolist()
    return chosen


@contextmanager
def predicting(student: Student) -> Iterator[None]:
    """While the student predicts, not learns."""
    training = student.training
    student.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        student.train(training)
