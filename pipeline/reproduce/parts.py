"""A long run as a row of parts: what is finished is skipped, and a person sees where it stands."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cache_schema.durable import write_atomic
from cache_schema.manifest import Record
from stages.progress import Progress

Watch = Callable[[str], AbstractContextManager[Progress]]
"""Opens a watcher of work that is counted in this unit."""


@dataclass(frozen=True)
class Part:
    """One part: `run` does it, or what is left of it; `digest` is of all that decides its result.

    Parts of one `kind` take about as long as each other. It is finished when it once ran to its end with the same
    digest and `output` is there.
    """

    name: str
    kind: str
    unit: str
    digest: str
    output: Path
    run: Callable[[Progress], None]


class PartRecord(Record):
    """What is kept of a part: how long it took, over all sessions."""

    name: str
    digest: str
    seconds: float
    finished: bool


def carry_out(parts: Sequence[Part], folder: Path, watch: Watch, say: Callable[[str], None]) -> None:
    """Do what is not finished, in order. Whatever is raised on the way, the records in `folder` hold what was done."""
    for number, part in enumerate(parts, 1):
        if finished(part, folder):
            continue
        say(f"part {number} of {len(parts)}: {part.name}; {_in_words(seconds_left(parts, folder))}")
        with watch(part.unit) as progress:
            _carry_out(part, folder, _Titled(progress, f"{number}/{len(parts)} {part.name}"))


def finished(part: Part, folder: Path) -> bool:
    """Whether nothing is left to do."""
    record = read_record(part, folder)
    return record is not None and record.finished and part.output.exists()


def seconds(parts: Sequence[Part], folder: Path) -> dict[str, float]:
    """Wall time of every part, over all sessions."""
    records = [read_record(part, folder) for part in parts]
    return {record.name: record.seconds for record in records if record is not None}


def seconds_left(parts: Sequence[Part], folder: Path) -> float | None:
    """Time that the unfinished parts will take, from finished ones of the same kind.

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
    return float(sum(statistics.fmean(known[kind]) for kind in left if kind in known))


def read_record(part: Part, folder: Path) -> PartRecord | None:
    """What is known of a part with the same settings."""
    try:
        record = PartRecord.model_validate_json(_file(part, folder).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.digest == part.digest else None


def _carry_out(part: Part, folder: Path, progress: Progress) -> None:
    known = read_record(part, folder)
    before, start, done = 0.0 if known is None else known.seconds, time.monotonic(), False
    try:
        part.run(progress)
        done = True
    finally:
        spent = before + time.monotonic() - start
        record = PartRecord(name=part.name, digest=part.digest, seconds=round(spent, 1), finished=done)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(_file(part, folder), record.model_dump_json(indent=1) + "\n")


def _file(part: Part, folder: Path) -> Path:
    return folder / f"{part.name.replace(', ', '-').replace(' ', '-')}.json"


def _in_words(left: float | None) -> str:
    if left is None:
        return "time left is not known yet"
    if left < 30:
        return "nearly done"
    return f"about {max(round(left / 60), 1)} min left"


class _Titled:
    """Puts the part before the name of every task."""

    def __init__(self, inner: Progress, title: str) -> None:
        self._inner = inner
        self._title = title

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self._inner.begin(f"{self._title}: {task}", total, done)

    def advance(self, amount: int = 1, **values: float) -> None:
        self._inner.advance(amount, **values)

    def working(self, worker: str, doing: str) -> None:
        self._inner.working(worker, doing)

    def note(self, line: str) -> None:
        self._inner.note(line)
