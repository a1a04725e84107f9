"""How a stage tells whoever watches what it is doing. Stages print nothing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """A watcher of long work, such as the command line's progress bar. It may be told from several threads."""

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """A task of `total` units starts, `done` of which were done by an earlier run."""
        ...

    def advance(self, amount: int = 1, **values: float) -> None:
        """Units of the current task were done, or below 0 count no more; `values` are figures to show beside it."""
        ...

    def working(self, worker: str, doing: str) -> None:
        """What one of several workers is doing."""
        ...

    def note(self, line: str) -> None:
        """Something worth a line that stays."""
        ...


class Silent:
    """A watcher that does not look."""

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """Ignore the task."""

    def advance(self, amount: int = 1, **values: float) -> None:
        """Ignore the step."""

    def working(self, worker: str, doing: str) -> None:
        """Ignore the worker."""

    def note(self, line: str) -> None:
        """Ignore the line."""
