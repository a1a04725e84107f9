"""Training curves and pictures for TensorBoard."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from torch.utils.tensorboard.writer import SummaryWriter


class Curves:
    """Writes named figures every so many steps, or nothing where there is no folder. Use as a context manager.

    A resumed run says which step is done: what an interrupted one had drawn beyond it is taken back.
    """

    def __init__(self, folder: Path | None, first_step: int, log_every: int) -> None:
        self.log_every = log_every
        self._writer = None if folder is None else SummaryWriter(str(folder), purge_step=first_step + 1)
        self._last = (first_step, time.perf_counter())

    def __enter__(self) -> Curves:
        self._hook = threading.excepthook
        threading.excepthook = self._told_here
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError:
                if error is None:  # else that is the one to tell
                    raise
            finally:
                threading.excepthook = self._hook

    def flush(self) -> None:
        """Have all points in the file."""
        if self._writer is not None:
            self._writer.flush()

    def draw(self, step: int, values: dict[str, float]) -> None:
        """Add a point to every curve, and one for the speed, if the step is one to log."""
        if self._writer is None or step % self.log_every:
            return
        last_step, last_time = self._last
        now = time.perf_counter()
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.add_scalar("steps_per_second", (step - last_step) / (now - last_time), step)
        self._last = (step, now)

    def mark(self, step: int, name: str, value: float) -> None:
        """Add a point to one curve, whatever the step."""
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def show(self, step: int, name: str, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Add a picture."""
        if self._writer is not None:
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def _told_here(self, failure: threading.ExceptHookArgs) -> None:
        """Not print the traceback of TensorBoard's thread: what it cannot write, the next point or picture raises."""
        if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__module__.startswith("tensorboard")):
            self._hook(failure)
