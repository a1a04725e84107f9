"""A run that nobody watches is stopped by SIGTERM (`kill`, a scheduler) or SIGHUP: both do what Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from stages.signals import handling


class StopSignal(KeyboardInterrupt):
    """A request to stop that did not come from the keyboard, and the number of its signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Raise StopSignal, a KeyboardInterrupt, where SIGTERM or SIGHUP arrives meanwhile."""
    with handling((signal.SIGTERM, signal.SIGHUP), _raise):
        yield


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise StopSignal(number)
