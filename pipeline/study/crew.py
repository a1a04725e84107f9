"""Several parts at a time, each in a process of its own.

A part travels to a process and its progress comes back. The processes do not hear Ctrl-C; when this one is
interrupted, they are asked to stop (SIGTERM): training saves where it stands. A process whose part fails ends, and
another takes its place.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from cache_schema.errors import FsmdeError
from pipeline.study.part import Failure, Part
from stages.child_process import obey_parent
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

    def hear(self, progress: Progress) -> list[Failure] | None:
        """Take one message and pass it on: None while the part is at work, then its failure, or nothing."""
        try:
            what, *values = self.line.recv()
        except EOFError:
            what, values = "failed", [FsmdeError("its process died, perhaps for want of memory; try --jobs 1")]
        if what == "failed":
            failure = Failure(self.part.name, values[0])
            progress.note(f"{self.part.name} failed: {failure.reason}")
            return [failure]
        if what == "note":
            progress.note(f"{self.part.name}: {values[0]}")
        elif what == "begin":
            self.task, self.total, self.done = values
        elif what == "advance":
            self.done += values[0]
        if what == "done":
            return []
        progress.working(str(self.process.name), f"{self.part.name}: {self.task} {self.done}/{self.total}")
        return None

    def take(self, part: Part | None) -> None:
        """Begin another part; none: there is no more."""
        self.part = part or self.part
        with suppress(BrokenPipeError):  # its process has died, which the line will tell
            self.line.send(part)
        if part is None:
            self.process.join(PATIENCE_S)
            self.process.kill()  # else this one could not end before it


def share_of_cores(jobs: int) -> int:
    """CPU threads of each of so many processes."""
    return max((os.cpu_count() or 1) // jobs, 1)


def work_off(parts: Sequence[Part], do: Do, jobs: int, progress: Progress) -> list[Failure]:
    """Do all of the parts, `jobs` at a time; returns those that failed.

    One that is alone has as many threads as it would have beside others: another number adds up in another order.
    """
    waiting, failures = list(parts), []
    size = min(jobs, len(parts))
    threads = share_of_cores(jobs)
    progress.begin("all", len(parts))
    with _crew() as crew:
        for number in range(size):  # one by one: should one fail to start, the others are asked to stop
            crew.append(_hire(str(number + 1), waiting.pop(0), do, threads))
        while crew:
            for line in wait([member.line for member in crew]):
                member = next(member for member in crew if member.line is line)
                heard = member.hear(progress)
                if heard is None:
                    continue
                failures += heard
                progress.advance()
                if waiting and not heard:
                    member.take(waiting.pop(0))
                    continue
                crew.remove(member)
                if not heard:
                    member.take(None)
                elif waiting:  # the process of a part that fails has ended
                    crew.append(_hire(member.process.name, waiting.pop(0), do, threads))
    return failures


def _hire(name: str, part: Part, do: Do, threads: int) -> _Member:
    """A new process with its first part."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, do, threads), name=name)
    process.start()
    theirs.close()  # so that the end of the process is the end of the line
    ours.send(part)
    return _Member(process, ours, part)


@contextmanager
def _crew() -> Iterator[list[_Member]]:
    """An empty crew; whoever is in it at the end is asked to stop."""
    crew: list[_Member] = []
    try:
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
