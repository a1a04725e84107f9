"""Training curves for TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard.writer import SummaryWriter


class Curves:
    """Writes named figures every so many steps. Use as a context manager.

    A resumed run says from which step on: what an interrupted one had drawn beyond it is taken back.
    """

    def __init__(self, folder: Path, first_step: int, log_every: int) -> None:
        self.log_every = log_every
        self._writer = SummaryWriter(str(folder), purge_step=first_step)
        self._last = (first_step, time.perf_counter())

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def draw(self, step: int, values: dict[str, float]) -> None:
        """Add a point to every curve, and one for the speed, if the step is one to log."""
        if step % self.log_every:
            return
        last_step, last_time = self._last
        now = time.perf_counter()
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.add_scalar("steps_per_second", (step - last_step) / (now - last_time), step)
        self._last = (step, now)
