"""Processes that a test may kill: `fsmde`, and the scheduler and workers of a Dask cluster, on the loopback device.

They are forked from a server that has imported everything heavy, so that each starts at once. What they do to files
can be held up, or be their end, by a file that the test makes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import distributed.cli.dask_scheduler
import distributed.cli.dask_worker

from pipeline.cli import app
from stages.cache_teacher import execute  # noqa: F401  for the server: torch and transformers
from tests import tiny_teachers  # noqa: F401  transformers imports a network's module when it is first named

FORK_SERVER = get_context("forkserver")
PATIENCE_S = 60.0

Found = TypeVar("Found")


def start_fork_server() -> None:
    """Start the server, which lives as long as the tests; a process is forked safely while it has one thread."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in one_thread}
    os.environ.update(one_thread)
    try:
        FORK_SERVER.set_forkserver_preload([__name__])
        process = FORK_SERVER.Process(target=os.getpid)
        process.start()
        process.join()
        process.close()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class Faults:
    """What befalls processes when they flush a file to the disk; a folder that they and the test see."""

    folder: Path

    def hold(self, files: str = "") -> None:
        """From now on they wait there, if the path holds this text, with files that are not yet in place."""
        aside = self.folder / "hold.new"
        aside.write_text(files)
        aside.rename(self.folder / "hold")

    def release(self) -> None:
        """They go on."""
        (self.folder / "hold").unlink(missing_ok=True)
        for file in self.folder.glob("held-*"):
            file.unlink()

    def kill(self) -> None:
        """From now on they die there."""
        (self.folder / "kill").touch()

    def spare(self) -> None:
        """They no longer die."""
        (self.folder / "kill").unlink(missing_ok=True)

    def held(self) -> list[int]:
        """Ids of the processes that wait."""
        return sorted(int(file.name.removeprefix("held-")) for file in self.folder.glob("held-*"))

    def install(self) -> None:
        """In one of those processes."""
        flush = os.fsync

        def faulty(descriptor: int) -> None:
            if (self.folder / "kill").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if self._holds(descriptor):
                (self.folder / f"held-{os.getpid()}").touch()
                while (self.folder / "hold").exists():
                    time.sleep(0.01)
            flush(descriptor)

        os.fsync = faulty

    def _holds(self, descriptor: int) -> bool:
        try:
            return (self.folder / "hold").read_text() in os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            return False


@dataclass
class Running:
    """A process and what it prints."""

    process: Any
    log: Path

    @property
    def pid(self) -> int:
        """Its id."""
        return int(self.process.pid)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Its exit status."""
        self.process.join(PATIENCE_S)
        assert not self.process.is_alive(), f"still runs: {self.log.read_text()}"
        return int(self.process.exitcode)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return bool(self.process.is_alive())


def start(program: Callable[..., None], arguments: Sequence[str], faults: Faults, name: str) -> Running:
    """Start a program of the command line."""
    log = faults.folder / f"{name}.log"
    process = FORK_SERVER.Process(target=_run, args=(program, list(arguments), faults, log))
    process.start()
    return Running(process, log)


def fsmde(arguments: Sequence[str]) -> None:
    """The command `fsmde`."""
    app(arguments, prog_name="fsmde")


def dask_scheduler(arguments: Sequence[str]) -> None:
    """The command `dask scheduler`."""
    distributed.cli.dask_scheduler.main(arguments)


def dask_worker(arguments: Sequence[str]) -> None:
    """The command `dask worker`."""
    distributed.cli.dask_worker.main(arguments)


def _run(program: Callable[..., None], arguments: Sequence[str], faults: Faults, log: Path) -> None:
    _die_with_the_tests()
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  for as long as the process lives
    faults.install()
    program(arguments)


def _die_with_the_tests() -> None:
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()  # type: ignore[func-returns-value]


@dataclass
class Cluster:
    """A Dask scheduler with two workers of one thread each."""

    faults: Faults
    protocol: str = "tcp"
    options: tuple[str, ...] = ()
    """Of scheduler and workers alike."""
    workers: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = self._start_scheduler()

    @property
    def address(self) -> str:
        """What `--scheduler` takes."""
        return f"{self.protocol}://127.0.0.1:{self._port}"

    def complete(self, workers: int = 2) -> None:
        """Start again what has died."""
        if not self.scheduler.alive:
            self.close()
            self.scheduler = self._start_scheduler()
        self.workers = [worker for worker in self.workers if worker.alive]
        while len(self.workers) < workers:
            self.start_worker()

    def start_worker(self) -> None:
        """One worker more."""
        name = f"worker-{time.monotonic_ns()}"
        arguments = ("--nthreads", "1", "--name", name, "--no-nanny", "--no-dashboard", "--death-timeout", "30")
        local = ("--local-directory", str(self.faults.folder / "local"))
        self.workers.append(start(dask_worker, (self.address, *arguments, *local, *self.options), self.faults, name))

    def worker(self, pid: int) -> Running:
        """The worker of that process."""
        return next(worker for worker in self.workers if worker.pid == pid)

    def close(self) -> None:
        """Kill all of it."""
        for process in (*self.workers, self.scheduler):
            process.kill()
        self.workers = []

    def _start_scheduler(self) -> Running:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        arguments = ("--host", f"{self.protocol}://127.0.0.1", "--port", str(self._port), "--no-dashboard")
        anywhere = ("--dashboard-address", "127.0.0.1:0")
        return start(dask_scheduler, (*arguments, *anywhere, *self.options), self.faults, "scheduler")


@contextmanager
def meanwhile(action: Callable[[], Any]) -> Iterator[None]:
    """Do something in another thread; what it raises is raised at the end."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def soon(look: Callable[[], Found], patience_s: float = PATIENCE_S) -> Found:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return found
