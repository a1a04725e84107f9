"""One part of a long run, and the record that is kept of it."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cache_schema.durable import write_atomic
from cache_schema.errors import FsmdeError
from cache_schema.manifest import Record
from stages.progress import Progress


@dataclass(frozen=True)
class Part:
    """One part: `run` does it, or what is left of it; `digest` is of all that decides its result.

    Parts of one `kind` take about as long as each other. It is finished when it once ran to its end with the same
    digest and `output` is there. It cannot be done without those parts that it `needs`, by name.
    """

    name: str
    kind: str
    unit: str
    digest: str
    output: Path
    run: Callable[[Progress], None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A part that could not be done."""

    part: str
    error: Exception
    blocked: bool = False
    """Whether it was not tried, because another part failed that it needs."""

    @property
    def reason(self) -> str:
        """The error in one line."""
        if isinstance(self.error, FsmdeError | OSError):
            return " ".join(str(self.error).split())
        last = str(self.error).strip().splitlines()[-1:]
        return last[0] if last else type(self.error).__name__


class PartRecord(Record):
    """What is kept of a part: how long it took, over all sessions."""

    name: str
    digest: str
    seconds: float
    finished: bool


def do_part(folder: Path, part: Part, progress: Progress) -> None:
    """Do a part, or what is left of it; whatever is raised, the record in `folder` holds the time it took.

    The traceback of an error is kept beside the record until the part succeeds.
    """
    known = read_record(part, folder)
    before, start, done = 0.0 if known is None else known.seconds, time.monotonic(), False
    file = _file(part, folder)
    told = file.with_suffix(".error")
    try:
        part.run(progress)
        done = True
        told.unlink(missing_ok=True)
    except Exception:
        write_atomic(told, traceback.format_exc())
        raise
    finally:
        spent = before + time.monotonic() - start
        record = PartRecord(name=part.name, digest=part.digest, seconds=round(spent, 1), finished=done)
        write_atomic(file, record.model_dump_json(indent=1) + "\n")


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
    return folder / f"{re.sub(r'[^A-Za-z0-9._+=-]+', '-', part.name)}.json"
