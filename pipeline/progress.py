"""The progress bar: units done, units per second, time left, and named figures."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

WORKERS_SHOWN = 16
LEAST_S = 0.5
"""Time that a rate is first told after: at once it would be that of a clock."""


class ProgressBar:
    """Shows the progress of a stage on a console; use as a context manager."""

    def __init__(self, console: Console, unit: str) -> None:
        self._progress = _WithFigures(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            _Left(),
            console=console,
        )

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, task: str, total: int, done: int = 0) -> None:
        """Start a bar of its own for a task."""
        for before in self._progress.task_ids:
            self._progress.stop_task(before)
        self._progress.add_task(task, total=total, completed=done, done_before=done)

    def advance(self, amount: int = 1, **values: float) -> None:
        """Move the present bar on, and show the figures below it."""
        self._progress.figures = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
        self._progress.update(self._progress.task_ids[-1], advance=amount)

    def working(self, worker: str, doing: str) -> None:
        """Show what a worker is doing, one line each."""
        self._progress.workers[worker] = doing

    def note(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, soft_wrap=True)


class _WithFigures(Progress):
    """Bars, below them a line of named figures and one for each worker."""

    figures = ""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self.workers: dict[str, str] = {}
        super().__init__(*columns, console=console)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        lines = [self.figures] if self.figures else []
        lines += [f"worker {name}  {doing}" for name, doing in sorted(self.workers.items())[:WORKERS_SHOWN]]
        for line in lines:
            yield Text(line, style="dim", no_wrap=True, overflow="ellipsis")


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        rate = _rate(task)
        if rate is None:
            return Text("")
        return Text(f"{rate:.2f} {self._unit}/s" if rate >= 0.1 else f"{3600 * rate:.1f} {self._unit}/h")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate, left = _rate(task), task.remaining or 0
        known = timedelta(seconds=round(left / rate)) if rate else timedelta(0)
        return Text(str(known) if rate or not left else "-:--:--")


def _rate(task: Task) -> float | None:
    """Units in a second since the task began in this run; none where there is nothing to tell yet.

    Over all that time: rich's own, over its last samples, is that of a clock where several units come at once.
    """
    done = task.completed - float(task.fields.get("done_before", 0))
    seconds = (task.elapsed if task.finished_time is None else task.finished_time) or 0.0
    return done / seconds if done > 0 and seconds >= LEAST_S else None
