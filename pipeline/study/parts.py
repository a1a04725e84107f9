"""A long run as a row of parts: what is finished is skipped, and a person sees where it stands."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cache_schema.durable import write_atomic
from cache_schema.errors import FsmdeError
from cache_schema.manifest import Record
from pipeline.study.crew import work_off
from pipeline.study.part import Failure, Part, do_part, finished, read_record
from stages.progress import Progress
from stages.wording import counted

Watch = Callable[[str], AbstractContextManager[Progress]]
"""Opens a watcher of work that is counted in this unit."""

TOGETHER: Final = "run"
"""The kind of part that others of its kind may run beside."""

_WALL = "wall.json"


class _Wall(Record):
    seconds: float


def carry_out(
    parts: Sequence[Part], folder: Path, watch: Watch, say: Callable[[str], None], *, jobs: int = 1
) -> list[Failure]:
    """Do what is not finished, in order, `jobs` runs at a time; a part that fails does not keep others from being done.

    Returns those that failed, or need one that did. An interruption ends all; the records in `folder` hold what was
    done.
    """
    waiting = [(number, part) for number, part in enumerate(parts, 1) if not finished(part, folder)]
    failures: list[Failure] = []
    if len(waiting) < len(parts):
        say(f"{len(parts) - len(waiting)} of {counted(len(parts), 'part')} done")
    if not waiting:
        return failures
    with _timed(folder):
        while waiting:
            number, part = waiting.pop(0)
            if (lost := _lost(part, failures)) is not None:
                failures.append(lost)
                continue
            left = _in_words(seconds_left(parts, folder, jobs))
            in_processes, together = jobs > 1 and part.kind == TOGETHER, [part]
            while in_processes and waiting and waiting[0][1].kind == TOGETHER:
                _, beside = waiting.pop(0)
                if (lost := _lost(beside, failures)) is None:
                    together.append(beside)
                else:
                    failures.append(lost)
            if in_processes:
                at_a_time = f", {jobs} at a time" if len(together) > 1 else ""
                say(f"{_numbers(parts, together)}{at_a_time}; {left}")
                with watch("runs") as progress:
                    failures += work_off(together, partial(do_part, folder), jobs, progress)
            else:
                say(f"part {number} of {len(parts)}: {part.name}; {left}")
                with watch(part.unit) as progress:
                    failures += _attempted(folder, part, _Titled(progress, f"{number}/{len(parts)}"))
    return failures


def refuse_failures(failures: Sequence[Failure]) -> None:
    """Raise the error of what failed; where several did, one that names them all."""
    tried = [failure for failure in failures if not failure.blocked]
    if len(tried) == 1:
        raise tried[0].error
    if tried:
        raise FsmdeError(
            "; ".join(f"{failure.part}: {failure.reason}" for failure in tried)
            + "; what is finished is kept, run the same command again to try these again"
        )


def _attempted(folder: Path, part: Part, progress: Progress) -> list[Failure]:
    try:
        do_part(folder, part, progress)
    except Exception as error:  # whatever it is, the other parts can do without this one
        progress.note(f"{part.name} failed: {Failure(part.name, error).reason}")
        return [Failure(part.name, error)]
    return []


def _lost(part: Part, failures: Sequence[Failure]) -> Failure | None:
    """The failure of a part that needs one that failed."""
    failed = [failure.part for failure in failures if failure.part in part.needs]
    if not failed:
        return None
    return Failure(part.name, FsmdeError(f"needs {failed[0]}, which failed"), blocked=True)


def _numbers(parts: Sequence[Part], some: Sequence[Part]) -> str:
    first, last = parts.index(some[0]) + 1, parts.index(some[-1]) + 1
    numbers = f"parts {first} to {last}" if last > first else f"part {first}"
    return f"{numbers} of {len(parts)}"


def wall_time(folder: Path) -> float:
    """Seconds that all sessions took together."""
    try:
        return _Wall.model_validate_json((folder / _WALL).read_bytes()).seconds
    except (OSError, ValidationError):
        return 0.0


@contextmanager
def _timed(folder: Path) -> Iterator[None]:
    before, start = wall_time(folder), time.monotonic()
    try:
        yield
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        spent = _Wall(seconds=round(before + time.monotonic() - start, 1))
        write_atomic(folder / _WALL, spent.model_dump_json() + "\n")


def seconds(parts: Sequence[Part], folder: Path) -> dict[str, float]:
    """Wall time of every part, over all sessions."""
    records = [read_record(part, folder) for part in parts]
    return {record.name: record.seconds for record in records if record is not None}


def seconds_left(parts: Sequence[Part], folder: Path, jobs: int = 1) -> float | None:
    """Time that the unfinished parts will take, from finished ones of the same kind; `jobs` runs at a time.

    None while there are several of a kind and none of them is finished; a part that is the only one of its kind does
    not count.
    """
    known: dict[str, list[float]] = {}
    left = []
    for part in parts:
        record = read_record(part, folder)
        if record is not None and finished(part, folder):
            known.setdefault(part.kind, []).append(record.seconds)
        else:
            left.append(part.kind)
    if any(left.count(kind) > 1 and kind not in known for kind in left):
        return None
    times = ((kind, statistics.fmean(known[kind])) for kind in left if kind in known)
    return float(sum(time / jobs if kind == TOGETHER else time for kind, time in times))


def _in_words(left: float | None) -> str:
    if left is None:
        return "time left is not known yet"
    if left < 30:
        return "less than half a minute left"
    return f"about {max(round(left / 60), 1)} min left"


class _Titled:
    """Puts the number of the part before the name of every task."""

    def __init__(self, inner: Progress, title: str) -> None:
        self._inner = inner
        self._title = title

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self._inner.begin(f"{self._title} {task}", total, done)

    def advance(self, amount: int = 1, **values: float) -> None:
        self._inner.advance(amount, **values)

    def working(self, worker: str, doing: str) -> None:
        self._inner.working(worker, doing)

    def note(self, line: str) -> None:
        self._inner.note(line)
