"""What parts do in the tests of the crew. Every process of it imports this, so nothing heavy is imported here."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cache_schema.errors import TrainingError
from pipeline.study.part import Part
from stages.progress import Progress

Work = Callable[..., None]


def touch(file: Path, progress: Progress) -> None:
    progress.begin("work", 2)
    progress.advance(loss=0.5)
    progress.note("half done")
    progress.advance()
    file.with_suffix(".process").write_text(str(os.getpid()))
    file.touch()


def count(file: Path, progress: Progress) -> None:
    """Write down with how many threads it is done."""
    import torch

    file.write_text(str(torch.get_num_threads()))


def meet(file: Path, other: Path, progress: Progress) -> None:
    """Wait for the other one: alone it would wait for ever."""
    file.touch()
    deadline = time.monotonic() + 60
    while not other.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def fail(file: Path, progress: Progress) -> None:
    raise TrainingError("loss is not finite")


def break_down(file: Path, progress: Progress) -> None:
    raise ZeroDivisionError("something nobody thought of")


def die(file: Path, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def linger(file: Path, progress: Progress) -> None:
    """Work that saves where it stands when it is asked to stop."""

    def save(number: int, frame: object) -> None:
        file.with_suffix(".saved").touch()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, save)
    progress.begin("work", 1000)
    for _ in range(1000):
        progress.advance()
        time.sleep(0.05)


def part(folder: Path, name: str, work: Work, *more: object) -> Part:
    file = folder / name
    return Part(name=name, kind="run", unit="steps", digest="1", output=file, run=partial(work, file, *more))
