"""Paths as people write them: ~ is their home folder."""

from __future__ import annotations

import re
from pathlib import Path

from cache_schema.errors import ConfigError

_HOME = re.compile(r"~[\w.-]*(/|$)")


def means_home(written: str) -> bool:
    """Whether text begins with a home folder; `~5 % better` does not."""
    return _HOME.match(written) is not None


def user_path(written: str | Path) -> Path:
    """A path with ~ and ~name as the folders that they stand for, as a shell does where it sees them.

    Raises ConfigError where there is no such home folder.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{written}: there is no home folder for {Path(written).parts[0]} (is HOME set?); write the path in full"
        ) from error
