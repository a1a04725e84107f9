"""Who does the tasks of stage 1: this process, processes on this machine, or a Dask cluster.

Dask schedules; it never writes arrays. A task goes to one worker, which writes its shard and enters it in the
journal. A worker that dies costs its task, which the scheduler gives to another. At any time only a few tasks are
with the scheduler, whatever the size of the dataset.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch

from cache_schema.errors import CacheError, ConfigError, FsmdeError
from cache_schema.storage import open_storage
from stages.cache_teacher.shard_task import RunContext, ShardTask, Workbench, cache_shard
from stages.progress import Progress

CONNECT_S = 15
FIRST_WORKER_S = 60
TASKS_PER_WORKER = 2
"""One that runs and one that waits."""


@runtime_checkable
class Workers(Protocol):
    """Whoever does tasks."""

    def load_teacher(self) -> None:
        """Load the teacher, so that one that cannot be used is known before anything is written."""
        ...

    def run(self, tasks: Iterable[ShardTask]) -> Iterator[int]:
        """Do tasks; gives the bytes written by each that is done. Raises the first error of any of them."""
        ...


@contextmanager
def open_workers(context: RunContext, progress: Progress) -> Iterator[Workers]:
    """The workers that the configuration asks for. Raises ConfigError where there are none."""
    config = context.config
    if config.scheduler is None and config.workers is None:
        yield ThisProcess(context, progress)
        return
    if not open_storage(config.cache).shared:
        raise ConfigError(f"other processes do not see {config.cache}; leave out --workers and --scheduler")
    with _cluster(config.scheduler, config.workers or 0) as client:
        yield DaskWorkers(client, context, progress)


class ThisProcess:
    """One task after the other, here."""

    def __init__(self, context: RunContext, progress: Progress) -> None:
        self._bench = Workbench(context, context.config.device)
        self._progress = progress

    def load_teacher(self) -> None:
        """See `Workers`."""
        _ = self._bench.teacher

    def run(self, tasks: Iterable[ShardTask]) -> Iterator[int]:
        """See `Workers`."""
        for task in tasks:
            yield cache_shard(self._bench, task, lambda _: self._progress.advance())


class DaskWorkers:
    """Tasks on the workers of a Dask cluster, a few at a time."""

    def __init__(self, client: Any, context: RunContext, progress: Progress) -> None:
        self._client = client
        self._context = context
        self._tally = _Tally(progress)
        self._topic = f"fsmde-{context.run}"
        workers = len(client.nthreads())
        progress.note(f"Dask scheduler {client.scheduler.address}, {workers} workers{_dashboard(client)}")

    def load_teacher(self) -> None:
        """See `Workers`."""
        self._result(self._client.submit(_load_teacher, self._context, pure=False), "loading the teacher")

    def run(self, tasks: Iterable[ShardTask]) -> Iterator[int]:
        """See `Workers`. After an error, tasks that have begun are waited for and kept."""
        from distributed import as_completed

        todo, finished = iter(tasks), as_completed()
        under_way: dict[Any, ShardTask] = {}
        self._client.subscribe_topic(self._topic, self._tally.heard)
        try:
            while True:
                room = TASKS_PER_WORKER * max(1, len(self._client.nthreads())) - len(under_way)
                for task in islice(todo, max(room, 0)):
                    future = self._client.submit(_run_task, self._context, task, self._topic, pure=False)
                    under_way[future] = task
                    finished.add(future)
                if not under_way:
                    return
                future = next(finished)
                task = under_way.pop(future)
                size = self._result(future, task.name)
                self._tally.finished(task)
                yield size
        except FsmdeError:
            self._let_finish(under_way)
            raise
        finally:
            self._client.cancel(list(under_way))
            self._client.unsubscribe_topic(self._topic)

    def _let_finish(self, under_way: dict[Any, ShardTask]) -> None:
        from distributed import wait

        begun = [future for future, task in under_way.items() if task.name in self._tally.begun]
        self._client.cancel([future for future in under_way if future not in begun])
        wait(begun)

    def _result(self, future: Any, what: str) -> Any:
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            return future.result()
        except KilledWorker as error:
            raise CacheError(
                f"{what}: every worker that tried it died, which is mostly for want of memory; "
                "lower --shard-rigs in a new cache, or use fewer workers. What is finished is kept"
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise CacheError(
                f"{what}: the Dask scheduler was lost; what is finished is kept, run the same command again"
            ) from error
        except ImportError as error:
            raise ConfigError(f"a Dask worker lacks what fsmde needs ({error}); install fsmde there too") from error


class _Tally:
    """Rigs done, from what workers tell: a task that its worker took to the grave is not counted twice."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._partly: dict[str, int] = {}
        self._done = self._shown = 0
        self.begun: set[str] = set()

    def heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """A worker says how far it is."""
        news = event[1]
        with self._lock:
            self.begun.add(news["task"])
            self._partly[news["task"]] = news["done"]
            self._show()
        self._progress.working(news["name"], f"{news['task']}: {news['done']} done")

    def finished(self, task: ShardTask) -> None:
        """A task is in the journal."""
        with self._lock:
            self._partly.pop(task.name, None)
            self._done += task.shard.rigs
            self._show()

    def _show(self) -> None:
        known = self._done + sum(self._partly.values())
        if known > self._shown:
            self._progress.advance(known - self._shown)
            self._shown = known


@contextmanager
def _cluster(scheduler: str | None, workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with _connected(scheduler) as client:
            yield client
        return
    dashboard = "127.0.0.1:0" if find_spec("bokeh") else None
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # a task holds one shard; Dask's own limit would kill what the machine can bear
            dashboard_address=dashboard,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    """A client of a running scheduler, with the TLS settings of Dask's own configuration."""
    from distributed import Client

    try:
        client = Client(scheduler, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler} ({' '.join(str(error).split())}); start one with: "
            "dask scheduler. For tls:// set distributed.comm.tls in Dask's configuration"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER_S)
        except TimeoutError as error:
            raise ConfigError(f"{scheduler} has no workers; start some with: dask worker {scheduler}") from error
        yield client


def _dashboard(client: Any) -> str:
    """The address of the dashboard, where the scheduler has one: it needs bokeh there."""
    has_one = client.run_on_scheduler(find_spec, "bokeh") is not None
    return f", dashboard {client.dashboard_link}" if has_one and client.dashboard_link else ""


_bench: Workbench | None = None
_bench_lock = threading.Lock()


def _run_task(context: RunContext, task: ShardTask, topic: str) -> int:
    """On a worker: do a task, and tell how far it is."""
    from distributed import get_worker

    worker = get_worker()

    def tell(done: int) -> None:
        worker.log_event(topic, {"name": str(worker.name), "task": task.name, "done": done})

    tell(0)
    return cache_shard(_workbench(context), task, tell)


def _load_teacher(context: RunContext) -> None:
    _ = _workbench(context).teacher


def _workbench(context: RunContext) -> Workbench:
    """The worker's workbench for a run, which it keeps from task to task."""
    global _bench
    from distributed import get_worker

    if version("fsmde") != context.code_version:
        raise ConfigError(f"a Dask worker has fsmde {version('fsmde')}, expected {context.code_version}")
    with _bench_lock:
        if _bench is None or _bench.context.run != context.run:
            worker, local = get_worker(), context.config.scheduler is None
            cores = (os.cpu_count() or 1) // (context.config.workers or 1) if local else worker.state.nthreads
            torch.set_num_threads(max(1, cores))
            device = context.config.device
            if local:
                device = device_of_worker(device, worker.name, torch.cuda.device_count())
            _bench = Workbench(context, device)
        return _bench


def device_of_worker(device: str, worker: int | str, gpus: int) -> str:
    """The device of a worker process on this machine: where it is left to us, each has a GPU in turn."""
    return f"cuda:{int(worker) % gpus}" if device == "auto" and gpus else device
