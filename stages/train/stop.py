"""Ctrl-C, or a scheduler's SIGTERM: the step that runs is finished and saved, then training stops."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

GRACE_S = 10.0
"""How long stopping may wait for something that must come to its end; torchrun gives 30 seconds for all."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether someone asked to stop, while used as a context manager; a second Ctrl-C stops at once.

    A second SIGTERM does not: both a scheduler and torchrun may send one.
    """

    def __init__(self) -> None:
        self.asked = False
        self._since = 0.0
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
        for item in items:
            if self.asked:
                return
            yield item

    def overdue(self) -> bool:
        """Whether someone has waited since for what should not take long."""
        return self.asked and time.monotonic() - self._since > GRACE_S

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.asked:
            self._since = time.monotonic()
        self.asked = True
