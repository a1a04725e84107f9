"""What the measurements share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

REPEATS = 5


def fastest_ms(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Shortest wall time of several runs, in milliseconds: the one that other work on the machine disturbed least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
