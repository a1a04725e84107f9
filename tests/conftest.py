"""How the suite runs: Ctrl-C works wherever it is started, one test more than there are cores, shapes are checked."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]
UNCHECKED = ROOT / "stages" / "cache_teacher" / "datasets" / "street"
"""It calls small functions half a million times for a town, and takes three times as long when each is checked."""


def pytest_configure() -> None:
    install_import_hook(_checked(), "beartype.beartype")
    # A shell lets what it starts with & ignore Ctrl-C, and every process inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _checked() -> list[str]:
    """Modules that declare shapes: all calls of their functions are held to these, which takes time."""
    files = [file for package in ("cache_schema", "stages") for file in (ROOT / package).rglob("*.py")]
    declare = [file for file in files if not file.is_relative_to(UNCHECKED) and "jaxtyping" in file.read_text("utf-8")]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in declare]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """What `-n auto` means: many tests wait for processes, so cores would be idle a third of the time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) + 1
