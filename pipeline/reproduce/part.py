"""One part of a long run, and the record that is kept of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cache_schema.durable import write_atomic
from cache_schema.manifest import Record
from stages.progress import Progress


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


def do_part(folder: Path, part: Part, progress: Progress) -> None:
    """Do a part, or what is left of it; whatever is raised, the record in `folder` holds the time it took."""
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


def finished(part: Part, folder: Path) -> bool:
    """Whether nothing is left to do."""
    record = read_record(part, folder)
    return record is not None and record.finished and part.output.exists()


def read_record(part: Part, folder: Path) -> PartRecord | None:
    """What is known of a part with the same settings."""
    try:
        record = PartRecord.model_validate_json(_file(part, folder).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.digest == part.digest else None


def _file(part: Part, folder: Path) -> Path:
    return folder / f"{part.name.replace(', ', '-').replace(' ', '-')}.json"
