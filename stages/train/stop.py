"""Ctrl-C, or a scheduler's SIGTERM: the step that runs is finished and saved, then training stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether someone asked to stop, while used as a context manager; a second Ctrl-C stops at once.

    A second SIGTERM does not: both a scheduler and torchrun may send one.
    """

    def __init__(self) -> None:
        self.asked = False
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python delivers no signals
            self._handlers = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def until(self, items: Iterable[Item]) -> Iterator[Item]:
        """Items until someone asks to stop."""
        try:
            for item in items:
                if self.asked:
                    return
                yield item
        except RuntimeError:  # the loader's: its worker processes died of the same Ctrl-C
            if not self.asked:
                raise

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


def leave_stopping_to_the_trainer(reader: int) -> None:
    """For a process that reads: Ctrl-C and the first SIGTERM are for the trainer, who still needs what is read.

    torchrun sends them to every process that a trainer has started.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _heed_the_next)


def _heed_the_next(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
