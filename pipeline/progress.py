"""The progress bar: units done, units per second, time left, and named figures."""

from __future__ import annotations

from collections.abc import Iterable
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
    TimeRemainingColumn,
)
from rich.text import Text

WORKERS_SHOWN = 16


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
            TimeRemainingColumn(),
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
        self._progress.add_task(task, total=total, completed=done)

    def advance(self, amount: int = 1, **values: float) -> None:
        """Move the present bar on, and show the figures below it."""
        self._progress.figures = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
        self._progress.update(self._progress.task_ids[-1], advance=amount)

    def working(self, worker: str, doing: str) -> None:
        """Show what a worker is doing, one line each."""
        self._progress.workers[worker] = doing

    def note(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


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
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.2f} {self._unit}/s" if speed else "")
