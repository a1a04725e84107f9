"""The moving average of a student's weights, which is steadier than the weights themselves."""

from __future__ import annotations

from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.train.student import Student


class AverageStudent(AveragedModel):
    """Exponential moving average (EMA): a ← d·a + (1 − d)·w after every step, with d = min(decay, (1 + n)/(10 + n)).

    n is the number of steps that are in it already, so that it soon forgets where training began; the first step's
    weights are taken as they are. The running statistics of normalisations are averaged alike, since they belong to
    the weights of their time.
    """

    module: Student

    def __init__(self, student: Student, decay: float) -> None:
        def follow(
            average: tuple[Tensor, ...] | list[Tensor], now: tuple[Tensor, ...] | list[Tensor], steps: Tensor | int
        ) -> None:
            n = float(steps)
            get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, now, steps)  # type: ignore[no-untyped-call]

        super().__init__(student, multi_avg_fn=follow, use_buffers=True)
        self.requires_grad_(False).eval()
