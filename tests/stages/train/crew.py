"""Processes that train together, as torchrun would start them, on this machine's CPU."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from cache_schema.errors import FsmdeError
from stages.progress import Silent
from stages.train import step
from stages.train.config import TrainConfig
from stages.train.execute import execute
from stages.train.losses import TeacherTargets
from stages.train.plan import plan
from stages.train.processes import Processes, join

PATIENCE_S = 300.0


class Watcher(Silent):
    """Remembers what it is told, and pulls the plug after so many steps: `unplug`."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[dict[str, float]] = []
        self.begun: list[tuple[str, int, int]] = []
        self.notes: list[str] = []
        self.stop_after = stop_after

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self.begun.append((task, total, done))

    def advance(self, amount: int = 1, **values: float) -> None:
        self.seen.append(values)
        if len(self.seen) == self.stop_after:
            self.unplug()

    def unplug(self) -> None:
        raise KeyboardInterrupt

    def note(self, line: str) -> None:
        self.notes.append(line)


class Terminator(Watcher):
    """Asks its own process to stop, as a scheduler would."""

    def unplug(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Crew:
    """The processes, and the lines to them."""

    members: list[BaseProcess]
    lines: list[Connection]

    def do(self, task: Callable[..., Any], *inputs: Any) -> list[Any]:
        """What `task(processes, *inputs)` returns in every process, or the error of ours that it raises there."""
        for line in self.lines:
            line.send((task, inputs))
        answers = []
        for line in self.lines:
            assert line.poll(PATIENCE_S), "the processes wait for each other"
            answers.append(line.recv())
            if isinstance(answers[-1], RuntimeError):
                raise answers[-1]
        return answers


@contextmanager
def crew(count: int, *, precise: bool = False) -> Iterator[Crew]:
    """Processes that have joined, until the end of the context; with `precise`, all they compute is in float64."""
    context = get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours, theirs = zip(*[context.Pipe() for _ in range(count)], strict=True)
    members = [
        context.Process(target=_work, args=(rank, count, port, theirs[rank], precise), daemon=True)
        for rank in range(count)
    ]
    for member, line in zip(members, theirs, strict=True):
        member.start()
        line.close()  # so that the end of the process is the end of the line
    try:
        yield Crew(list(members), list(ours))
    finally:
        for member in members:
            member.kill()
            member.join()


def train_together(
    processes: Processes, config: TrainConfig, cache: Path, run: Path, stop_after: int | None = None
) -> Watcher:
    """One member's part of a run. The first is asked to stop after so many steps, the others are not."""
    watcher = Terminator(stop_after)
    execute(plan(config, cache, run), watcher, code_version="test", processes=processes)
    return watcher


def _work(rank: int, count: int, port: int, line: Connection, precise: bool) -> None:
    torch.set_num_threads(1)
    if precise:
        _compute_in_float64()
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"})
    with join("cpu") as processes:
        while True:
            task, inputs = line.recv()
            try:
                line.send(task(processes, *inputs))
            except (FsmdeError, KeyboardInterrupt) as error:
                line.send(error)
            except Exception:
                line.send(RuntimeError(traceback.format_exc()))


def _compute_in_float64() -> None:
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    real = step.teacher_targets

    def targets_in_float64(*inputs: Any, **settings: Any) -> TeacherTargets:
        targets = real(*inputs, **settings)
        values = {field.name: getattr(targets, field.name) for field in fields(targets)}
        single = {name: value for name, value in values.items() if getattr(value, "dtype", None) == torch.float32}
        return replace(targets, **{name: value.double() for name, value in single.items()})

    step.teacher_targets = targets_in_float64
