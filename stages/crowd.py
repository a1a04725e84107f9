"""How many processes or threads a machine can use, whatever is asked for."""

from __future__ import annotations

import os

from cache_schema.errors import ConfigError

FOR_EACH_CORE, ANYWHERE = 8, 64
"""So many for each core, or so many on any machine: those that wait for a network need no core."""


def refuse_crowd(key: str, count: int | None) -> None:
    """Raise ConfigError where a setting asks for more processes or threads than can be of use."""
    cores = os.cpu_count() or 1
    most = max(ANYWHERE, FOR_EACH_CORE * cores)
    if count is not None and count > most:
        raise ConfigError(f"{key} {count} on {cores} cores; expected at most {most}: more only wait for each other")
