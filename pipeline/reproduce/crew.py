"""Several parts at a time, each in a process of its own.

A part travels to a process and its progress comes back. The processes do not hear Ctrl-C; when this one is
interrupted, or a part fails, they are asked to stop (SIGTERM): training saves where it stands.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from cache_schema.errors import FsmdeError
from pipeline.reproduce.part import Part
from stages.cache_teacher.child_process import obey_parent
from stages.progress import Progress

PATIENCE_S = 60.0
"""How long processes that were asked to stop may take: a step of training and a checkpoint."""

Do = Callable[[Part, Progress], None]
"""Carries out one part; it and the part can be pickled."""


@dataclass
class _Member:
    """A process, the line to it, and what it is doing."""

    process: SpawnProcess
    line: Connection
    part: Part
    task: str = ""
    total: int = 0
    done: int = 0

    def hear(self, progress: Progress) -> bool:
        """Take one message and pass it on; whether the part is done. Raises what the part raised."""
        try:
            what, *values = self.line.recv()
        except EOFError as error:
            raise FsmdeError(
                f"the process for {self.part.name} died, perhaps for want of memory; what is finished is kept: "
                "run the same command again with --jobs 1"
            ) from error
        if what == "failed":
            raise values[0]
        if what == "note":
            progress.note(f"{self.part.name}: {values[0]}")
        elif what == "begin":
            self.task, self.total, self.done = values
        elif what == "advance":
            self.done += values[0]
        if what != "done":
            progress.working(str(self.process.name), f"{self.part.name}: {self.task} {self.done}/{self.total}")
        return bool(what == "done")


def work_off(parts: Sequence[Part], do: Do, jobs: int, progress: Progress) -> None:
    """Do all of the parts, `jobs` at a time. Raises the first error of any of them, when all processes have ended."""
    waiting = list(parts)
    progress.begin("all", len(parts))
    with _crew(min(jobs, len(parts)), waiting, do) as crew:
        while crew:
            for line in wait([member.line for member in crew]):
                member = next(member for member in crew if member.line is line)
                if not member.hear(progress):
                    continue
                progress.advance()
                if waiting:
                    member.part = waiting.pop(0)
                    member.line.send(member.part)
                else:
                    member.line.send(None)
                    member.process.join(PATIENCE_S)
                    crew.remove(member)


@contextmanager
def _crew(size: int, waiting: list[Part], do: Do) -> Iterator[list[_Member]]:
    context = multiprocessing.get_context("spawn")
    threads = max((os.cpu_count() or 1) // size, 1)
    crew = []
    try:
        for number in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, do, threads), name=str(number + 1))
            process.start()
            theirs.close()  # so that the end of the process is the end of the line
            crew.append(_Member(process, ours, waiting.pop(0)))
            crew[-1].line.send(crew[-1].part)
        yield crew
    finally:
        for member in crew:
            member.process.terminate()
        for member in crew:
            member.process.join(PATIENCE_S)
            member.process.kill()


def _work(line: Connection, do: Do, threads: int) -> None:
    """Do parts as they come, until none comes."""
    os.setsid()  # Ctrl-C is for the parent, which tells us
    obey_parent()
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(threads)
    while (part := line.recv()) is not None:
        try:
            do(part, _Told(line))
        except KeyboardInterrupt:
            return  # asked to stop
        except (FsmdeError, OSError) as error:
            line.send(("failed", error))
            return
        except Exception:  # whatever it is, the parent raises it; not every exception can travel
            line.send(("failed", RuntimeError(traceback.format_exc())))
            return
        line.send(("done",))


class _Told:
    """Progress that goes down the line."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self._line.send(("begin", task, total, done))

    def advance(self, amount: int = 1, **values: Any) -> None:
        self._line.send(("advance", amount))

    def working(self, worker: str, doing: str) -> None:
        """Workers of a part are its own affair."""

    def note(self, line: str) -> None:
        self._line.send(("note", line))
