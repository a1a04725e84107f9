"""The version of fsmde, as it is written into caches, runs and results."""

from __future__ import annotations

from importlib.metadata import version


def code_version() -> str:
    """The installed version."""
    return version("fsmde")
