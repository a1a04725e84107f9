"""Processes that die at a chosen instant: after some time, or at one of the things they do to files.

What a process does to files is counted and told to a small file, which outlives it.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from cache_schema import GroupWriter, RigFrames, Shard
from stages.cache_teacher.datasets.base import RigDataset, SampleRef

ANY = "any"

Die = Callable[[], None]


@dataclass(frozen=True)
class AtTime:
    """Killed some time after it was started."""

    seconds: float


@dataclass(frozen=True)
class AtOperation:
    """Killed at its n-th durable operation on files of a kind, counted from 1.

    In the middle of a write half of the bytes are there; other operations have no middle.
    """

    number: int
    kind: str
    moment: Literal["before", "middle", "after"]


Death = AtTime | AtOperation


@dataclass(frozen=True)
class Last:
    """The last that is known of a process."""

    operations: dict[str, int] = field(default_factory=dict)
    """Durable operations that it began, by the kind of file."""
    in_shards: dict[str, int] = field(default_factory=dict)
    """Those of them inside the write of a shard."""
    operation: str = ""
    shard: str = ""
    """The shard whose write had begun and had not ended."""


def last_of(trace: Path) -> Last:
    """The last that is known of the process that wrote this file."""
    text = trace.read_text().strip() if trace.exists() else ""
    return Last(**json.loads(text)) if text else Last()


def kind_of(path: str) -> str:
    """What a file of a cache is for, also while it is written aside."""
    *folders, name = Path(path).parts
    if "journal" in folders:
        return "group record" if name.startswith("group.json") else "journal record"
    if name.startswith("c."):
        return "shard"
    in_root = not {"frames", "teachers"} & {*folders, name}
    return "manifest" if in_root and name.startswith(("zarr.json", "manifest.json")) else "other"


def kill(process: int | None = None) -> None:
    """SIGKILL, for this process if no other is named."""
    os.kill(os.getpid() if process is None else process, signal.SIGKILL)
    if process is None:
        time.sleep(60)  # until the signal has come, this thread does no more


class Operations:
    """Counts what this process does to files, and dies at the chosen one.

    Patches this process: never to be installed in the one that runs the tests.
    """

    def __init__(self, trace: Path, death: AtOperation | None = None, die: Die = kill) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        self._death = death
        self._die = die
        self._lock = threading.Lock()
        self._last = Last()

    def install(self) -> None:
        """Watch every flush, rename, removal, new folder and written file from now on, and the writes of shards."""
        flush, open_path, write_shard = os.fsync, Path.open, GroupWriter.write

        def flushed(descriptor: int) -> None:
            link = f"/proc/self/fd/{descriptor}"
            path = os.readlink(link) if os.path.islink(link) else ""
            self.step("flush", path, functools.partial(flush, descriptor))

        def opened(path: Path, mode: str = "r", *args: Any, **settings: Any) -> Any:
            file = open_path(path, mode, *args, **settings)
            return _WatchedFile(file, path, self.step) if mode == "wb" else file

        def shard_written(writer: GroupWriter, shard: Shard, blocks: Any) -> Any:
            self._tell(shard=f"{writer.group.path} {shard.index}")
            record = write_shard(writer, shard, blocks)
            self._tell(shard="")
            return record

        os.fsync = flushed
        Path.open = opened
        for name in ("replace", "unlink", "mkdir"):
            setattr(Path, name, self._watched(name, getattr(Path, name)))
        GroupWriter.write = shard_written

    def step(self, name: str, path: str, *parts: Callable[[], Any]) -> Any:
        """One durable operation on a file, in one part or two."""
        kind = kind_of(path)
        with self._lock:
            last = self._last
            counts = _counted(last.operations, ANY, kind)
            in_shards = _counted(last.in_shards, ANY, kind) if last.shard else last.in_shards
            self._tell(operations=counts, in_shards=in_shards, operation=f"{name} {path}")
        death, survived, result = self._death, None, None
        if death is not None and death.kind in (ANY, kind) and death.number == counts[death.kind]:
            survived = {"before": 0, "middle": len(parts) // 2, "after": len(parts)}[death.moment]
        for done, part in enumerate(parts):
            if done == survived:
                self._die()
            result = part()
        if survived == len(parts):
            self._die()
        return result

    def _watched(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Path, *args: Any, **settings: Any) -> Any:
            return self.step(name, str(path), functools.partial(operation, path, *args, **settings))

        return watched

    def _tell(self, **news: Any) -> None:
        self._last = replace(self._last, **news)
        os.pwrite(self._trace, json.dumps(self._last.__dict__).encode().ljust(1024), 0)


class _WatchedFile:
    """A file whose contents come in two halves."""

    def __init__(self, file: IO[bytes], path: Path, step: Callable[..., Any]) -> None:
        self._file = file
        self._path = path
        self._step = step

    def write(self, content: bytes) -> None:
        """Write one half, then the other."""
        half = len(content) // 2
        halves = (functools.partial(self._put, part) for part in (content[:half], content[half:]))
        self._step("write", str(self._path), *halves)

    def _put(self, part: bytes) -> None:
        self._file.write(part)
        self._file.flush()

    def __enter__(self) -> _WatchedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@dataclass(frozen=True)
class FatalDataset:
    """A dataset of which the first worker process that reads it dies, or has the process `victim` die.

    `folder` gets a file for every process that reads, named as its id, and `killed`, what the first one did last.
    """

    inner: RigDataset
    folder: Path
    death: Death
    victim: int | None

    def load(self, split: str, ref: SampleRef) -> RigFrames:
        """See `RigDataset`."""
        (self.folder / str(os.getpid())).touch()
        if self._first():
            self._arm()
        return self.inner.load(split, ref)

    def _arm(self) -> None:
        at_operation = self.death if isinstance(self.death, AtOperation) else None
        Operations(self.folder / "trace", at_operation, self._die).install()
        if isinstance(self.death, AtTime):
            timer = threading.Timer(self.death.seconds, self._die)
            timer.daemon = True
            timer.start()

    def _die(self) -> None:
        shutil.copyfile(self.folder / "trace", self.folder / "killed")
        kill(self.victim)

    def _first(self) -> bool:
        try:
            (self.folder / "armed").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def readers(folder: Path) -> list[int]:
    """The ids of the processes that have read a `FatalDataset` and still run."""
    return [int(file.name) for file in folder.iterdir() if file.name.isdecimal() and _runs(int(file.name))]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _counted(counts: dict[str, int], *kinds: str) -> dict[str, int]:
    return counts | {kind: counts.get(kind, 0) + 1 for kind in kinds}
