"""Processes that read ahead of training, so that nothing they suffer is more than a delay.

PyTorch's DataLoader is not used, because its trainer waits for ever for a batch that a reader failed to send, and is
hit in the middle of a step by the end of a reader. Here every reader has a line of its own and is asked for one batch
after the other. One that ends, or gives nothing for long, is replaced, and the new one is asked for the same batches.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Generic, TypeVar

import torch

from cache_schema.errors import TrainingError
from stages.child_process import obey_parent
from stages.train import parcel

Batch = TypeVar("Batch")
Request = Sequence[Any]
"""The rigs of one batch, as the stream names them."""
Read = Callable[[Request], Batch]

PREFETCH = 2
"""Batches that a reader has read, or is reading, before the first of them is needed."""
PATIENCE_S = 15 * 60.0
"""How long a batch may take. A store answers or fails far sooner; whoever is slower can train on nothing."""
TELL_AFTER_S = 60.0
"""How long a batch may take until somebody is told."""
LIVES = 3
"""Readers that may end over one batch, one after the other."""
_LOOK_S = 0.2
_END_S = 3.0
"""How long a process may take to end."""
_TERMINATED = 128 + signal.SIGTERM
"""Status of a process that was asked to end, as a shell has it."""
# A forked process inherits threads and locks of zarr and torch in an unknown state and may hang.
_SPAWN = get_context("spawn")


def never() -> bool:
    """Nobody asks to stop."""
    return False


def silently(line: str) -> None:
    """Tell nobody."""


class Readers(Generic[Batch]):
    """`count` processes that call `read`, which is pickled, or this process itself where 0.

    They start when the first batch is asked for, and end with `close`, or with this process however it ends. Lines
    for a person go to `tell`; `source` says in them what is read.
    """

    def __init__(self, read: Read[Batch], count: int, *, source: str, tell: Callable[[str], None] = silently) -> None:
        self._read = read
        self._count = count
        self._source = source
        self._tell = tell
        self._readers: list[_Reader[Batch]] = []

    def batches(self, requests: Iterable[Request], stopping: Callable[[], bool] = never) -> Iterator[Batch]:
        """What is asked for, in order, whoever reads it; no more where nothing has come and it is time to stop.

        Raises the error that `read` raises, and TrainingError where readers end, or give nothing, again and again.
        """
        if self._count == 0:
            yield from map(self._read, requests)
            return
        left, turns = iter(requests), deque[_Reader[Batch]]()
        self._start()
        for reader, request in zip(cycle(self._readers), islice(left, PREFETCH * self._count), strict=False):
            reader.ask(request)
            turns.append(reader)
        while turns:
            reader = turns.popleft()
            answer = self._wait(reader, stopping)
            if answer is None:
                return
            for request in islice(left, 1):
                reader.ask(request)
                turns.append(reader)
            yield answer.batch()

    def close(self) -> None:
        """End the processes; what they are reading is of no use any more."""
        for reader in self._readers:
            reader.dismiss()
        until = time.monotonic() + _END_S
        for reader in self._readers:
            reader.leave(until - time.monotonic())
        self._readers.clear()

    def _start(self) -> None:
        """Have readers that nobody has asked for anything."""
        if any(reader.asked for reader in self._readers):  # for batches that were not fetched
            self.close()
        while len(self._readers) < self._count:
            self._readers.append(_Reader(self._read))

    def _wait(self, reader: _Reader[Batch], stopping: Callable[[], bool]) -> _Answer[Batch] | None:
        """The next answer of a reader; none where it is time to stop."""
        since, told = time.monotonic(), False
        ends: list[str] = []
        while True:
            try:
                answer = reader.answer(_LOOK_S)
            except (EOFError, ConnectionError):
                if stopping():  # whoever asked this process to stop may have asked all of its group
                    return None
                ends.append(reader.end())
            else:
                if answer is not None:
                    return answer
                if stopping():
                    return None
                waited = time.monotonic() - since
                if waited > TELL_AFTER_S and not told:
                    told = True
                    self._tell(f"{self._source}: no batch for {waited:.0f} s, still reading {reader.reading}")
                if waited < PATIENCE_S:
                    continue
                ends.append(f"gave nothing for {PATIENCE_S / 60:.0f} min")
            if len(ends) >= LIVES:
                raise TrainingError(self._in_vain(reader, ends))
            self._tell(f"a reader {ends[-1]}; another reads the same rigs again")
            reader.replace()
            since = time.monotonic()

    def _in_vain(self, reader: _Reader[Batch], ends: Sequence[str]) -> str:
        if "gave nothing" in ends[-1]:
            remedy = "see whether the store answers"
        elif "was killed" in ends[-1]:
            remedy = "mostly that is for want of memory: allow it more, or take fewer loader.workers"
        else:
            remedy = "what it said itself stands above; loader.workers=0 reads without such processes"
        return (
            f"{self._source}: {len(ends)} readers, one after the other, could not read {reader.reading}; the last one"
            f" {ends[-1]}; {remedy}; the same command goes on from here"
        )


@dataclass(frozen=True)
class _Answer(Generic[Batch]):
    """What a reader made of a request: a batch, or the error that kept it from it."""

    read: Batch | None = None
    error: Exception | None = None
    told: str = ""
    """The traceback that the error had there."""

    def batch(self) -> Batch:
        """The batch. Raises the error."""
        if self.error is not None:
            raise self.error from _InReaderError(self.told)
        assert self.read is not None
        return self.read


class _Reader(Generic[Batch]):
    """One process, the line to it, and the batches that it was asked for and has not given."""

    def __init__(self, read: Read[Batch]) -> None:
        self.asked: deque[Request] = deque()
        self._read = read
        self._start()

    @property
    def reading(self) -> str:
        """What it reads now, in words."""
        return f"rigs {', '.join(str(getattr(visit, 'rig', visit)) for visit in self.asked[0])}"

    def ask(self, request: Request) -> None:
        """Ask for one more batch."""
        self.asked.append(request)
        self._send(request)

    def answer(self, wait_s: float) -> _Answer[Batch] | None:
        """The answer to the first request; none while there is none. Raises EOFError where it never comes."""
        if not self._line.poll(wait_s):
            return None
        answer: _Answer[Batch] = parcel.receive(self._line)
        self.asked.popleft()
        return answer

    def end(self) -> str:
        """How the process ended, in words."""
        self._process.join(_END_S)
        code = self._process.exitcode
        if code == _TERMINATED:
            code = -signal.SIGTERM
        return f"ended with status {code}" if code is None or code >= 0 else f"was killed ({_name(-code)})"

    def replace(self) -> None:
        """Have another process do what this one did not."""
        self.dismiss()
        self.leave(0.0)
        self._start()
        for request in self.asked:
            self._send(request)

    def dismiss(self) -> None:
        """Let the process end: nobody will ask it for anything."""
        self._line.close()

    def leave(self, wait_s: float) -> None:
        """See it end, by force after so long; it has nothing that could be lost."""
        self._process.join(max(wait_s, 0.0))
        self._process.kill()
        self._process.join(_END_S)

    def _start(self) -> None:
        self._line, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, self._read), daemon=True, name="reader")
        try:
            self._process.start()
        finally:
            theirs.close()  # so that the end of the process is the end of the line

    def _send(self, request: Request) -> None:
        with suppress(ConnectionError):  # it has ended, as whoever waits for its answer will see
            self._line.send(request)


def _serve(line: Connection, read: Read[Batch]) -> None:
    """Read what is asked for until nobody asks any more."""
    os.setsid()  # torchrun and a terminal send their signals to the group of the trainer, who still needs us
    signal.signal(signal.SIGTERM, _end)
    obey_parent()
    torch.set_num_threads(1)
    try:
        while True:
            parcel.send(line, _answer(read, line.recv()))
    except (EOFError, ConnectionError):
        pass


def _answer(read: Read[Batch], request: Request) -> parcel.Parcel:
    try:
        return parcel.pack(_Answer(read(request)))
    except Exception as error:
        return parcel.pack(_Answer(error=_travelling(error), told=traceback.format_exc()))


def _travelling(error: Exception) -> Exception:
    """The error; in words where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


class _InReaderError(Exception):
    """A traceback of another process."""
