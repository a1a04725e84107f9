"""Being asked to stop: by Ctrl-C (SIGINT), `kill` or a scheduler (SIGTERM), or a terminal that closes (SIGHUP)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")

GRACE_S = 10.0
"""How long stopping may wait for something that must come to its end; torchrun gives 30 seconds for all."""


class StopSignal(KeyboardInterrupt):
    """A request to stop that did not come from the keyboard, and the number of its signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def handling(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Call `handler` on these signals meanwhile, where Python delivers signals at all: in the main thread.

    A signal that the process was started to ignore stays ignored: `nohup` means that for SIGHUP, a script's `&` for
    SIGINT.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Raise StopSignal, a KeyboardInterrupt, where SIGTERM or SIGHUP arrives meanwhile: both do what Ctrl-C does."""
    with handling((signal.SIGTERM, signal.SIGHUP), _raise):
        yield


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise StopSignal(number)


class StopRequest(ExitStack):
    """Whether someone asked to stop, while used as a context manager; a second Ctrl-C stops at once.

    A second SIGTERM does not: both a scheduler and torchrun may send one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._number: int | None = None
        self._since = 0.0

    def __enter__(self) -> StopRequest:
        super().__enter__()
        self.enter_context(handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self._ask))
        return self

    @property
    def asked(self) -> bool:
        """Whether someone did."""
        return self._number is not None

    @property
    def interrupt(self) -> KeyboardInterrupt:
        """What to raise once all is done that must be."""
        number = self._number
        return KeyboardInterrupt() if number is None or number == signal.SIGINT else StopSignal(number)

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
            self._number = number
