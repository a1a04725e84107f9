"""A thread that puts batches into page-locked memory, one ahead, while the device works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_LOOK_S = 0.2


class Ahead(Generic[Item]):
    """Takes items one ahead, in a thread that calls `prepare` first; the thread ends with the context."""

    def __init__(self, prepare: Callable[[], None]) -> None:
        self._prepare = prepare
        self._closed = Event()
        self._taken: Queue[tuple[Item | None, BaseException | None]] = Queue(maxsize=1)
        self._thread: Thread | None = None

    @property
    def closed(self) -> bool:
        """Whether nobody wants items any more."""
        return self._closed.is_set()

    def items(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items, none of which is None. Raises what they raise."""
        self._thread = Thread(target=self._take, args=(items,), daemon=True, name="ahead")
        self._thread.start()
        while True:
            item, error = self._taken.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def __enter__(self) -> Ahead[Item]:
        return self

    def __exit__(self, *_: Any) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _take(self, items: Iterator[Item]) -> None:
        try:
            self._prepare()
            for item in items:
                self._put(item, None)
                if self.closed:
                    return
            self._put(None, None)
        except BaseException as error:
            self._put(None, error)

    def _put(self, item: Item | None, error: BaseException | None) -> None:
        while not self.closed:
            with suppress(Full):
                self._taken.put((item, error), timeout=_LOOK_S)
                return
