"""Records that a run stores as JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from cache_schema.errors import TrainingError
from cache_schema.manifest import Record
from stages.json_text import BadJsonError, checked_json

R = TypeVar("R", bound=Record)


def read_record(kind: type[R], file: Path, remedy: str) -> R:
    """Read a record. Raises TrainingError with the file, what is wrong with it, and the remedy."""
    try:
        return kind.model_validate_json(checked_json(file.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TrainingError(f"{file} is damaged ({where}: {first['msg']}); {remedy}") from error
    except OSError as error:
        raise TrainingError(f"{file} cannot be read ({error}); {remedy}") from error
    except BadJsonError as error:
        raise TrainingError(f"{file} {error}; {remedy}") from error
