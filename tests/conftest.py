"""How the suite runs: Ctrl-C works wherever it is started, and one test more than there are cores at a time."""

from __future__ import annotations

import os
import signal

import pytest


def pytest_configure() -> None:
    # A shell lets what it starts with & ignore Ctrl-C, and every process inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """What `-n auto` means: many tests wait for processes, so cores would be idle a third of the time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) + 1
