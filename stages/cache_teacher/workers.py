"""Who does the tasks of stage 1: this process, processes on this machine, or a Dask cluster.

Dask schedules; it never writes arrays. A task goes to one worker, which writes its shard and enters it in the
journal. A worker that dies costs its task, which the scheduler gives to another. At any time only a few tasks are
with the scheduler, whatever the size of the dataset.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from cache_schema.errors import CacheError, ConfigError, FsmdeError
from cache_schema.storage import open_storage
from stages.cache_teacher import dask_worker
from stages.cache_teacher.cluster import dashboard, open_cluster
from stages.cache_teacher.shard_task import RunContext, ShardResult, ShardTask, Workbench, cache_shard
from stages.progress import Progress

WITHOUT_WORKERS_S = 300.0
"""How long a run waits for a worker once all are gone: a batch system may be about to start others."""
LOOK_S = 2.0
"""How often a run that waits looks whether there are workers."""
TASKS_PER_WORKER = 2
"""One that runs and one that waits."""


@runtime_checkable
class Workers(Protocol):
    """Whoever does tasks."""

    def load_teacher(self) -> None:
        """Load the teacher, so that one that cannot be used is known before anything is written."""
        ...

    def run(self, tasks: Iterable[ShardTask]) -> Iterator[ShardResult]:
        """Do tasks; gives the result of each. Raises the first error of any of them."""
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
    with open_cluster(config.scheduler, config.workers or 0, progress.note) as client:
        yield DaskWorkers(client, context, progress)


class ThisProcess:
    """One task after the other, here."""

    def __init__(self, context: RunContext, progress: Progress) -> None:
        self._bench = Workbench(context, context.config.device)
        self._tally = _Tally(progress)

    def load_teacher(self) -> None:
        """See `Workers`."""
        _ = self._bench.teacher

    def run(self, tasks: Iterable[ShardTask]) -> Iterator[ShardResult]:
        """See `Workers`."""
        for task in tasks:
            result = cache_shard(self._bench, task, partial(self._tally.reached, task.name))
            self._tally.finished(task, result)
            yield result


class DaskWorkers:
    """Tasks on the workers of a Dask cluster, a few at a time."""

    def __init__(self, client: Any, context: RunContext, progress: Progress) -> None:
        self._client = client
        self._context = context
        self._progress = progress
        self._tally = _Tally(progress)
        self._topic = f"fsmde-{context.run}"
        self._alone_since: float | None = None
        self._address = client.scheduler.address
        progress.note(f"Dask scheduler {self._address}{dashboard(client)}")

    def load_teacher(self) -> None:
        """See `Workers`."""
        for future in self._settled([self._submit(dask_worker.load_teacher)]):
            self._result(future, "loading the teacher")

    def run(self, tasks: Iterable[ShardTask]) -> Iterator[ShardResult]:
        """See `Workers`. After an error, tasks that have begun are waited for and kept."""
        todo = iter(tasks)
        under_way: dict[Any, ShardTask] = {}
        self._client.subscribe_topic(self._topic, self._tally.heard)
        try:
            while True:
                room = TASKS_PER_WORKER * max(1, self._workers()) - len(under_way)
                for task in islice(todo, max(room, 0)):
                    under_way[self._submit(dask_worker.run_task, task, self._topic)] = task
                if not under_way:
                    return
                for future in self._settled(under_way):
                    task = under_way.pop(future)
                    result: ShardResult = self._result(future, task.name)
                    self._tally.finished(task, result)
                    yield result
        except FsmdeError:
            self._let_finish(under_way)
            raise
        finally:
            if self._client.status == "running":
                self._client.cancel(list(under_way))
                self._client.unsubscribe_topic(self._topic)

    def _submit(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The future of work on whichever worker is free; the same work may be done again, so it is not `pure`."""
        return self._client.submit(work, self._context, *arguments, pure=False)

    def _let_finish(self, under_way: dict[Any, ShardTask]) -> None:
        begun = {future for future, task in under_way.items() if task.name in self._tally.begun}
        with suppress(CacheError):  # nobody is left to finish them; the first error says more
            self._require_scheduler()
            self._client.cancel([future for future in under_way if future not in begun])
            while begun:
                begun -= set(self._settled(begun, patience_s=0.0))

    def _settled(self, futures: Collection[Any], patience_s: float | None = None) -> list[Any]:
        """Those that are done, failed or lost, as soon as there is one.

        Raises CacheError where there have been no workers for that long, or the scheduler is lost.
        """
        from distributed import wait

        while True:
            with suppress(TimeoutError, CancelledError):
                wait(list(futures), timeout=LOOK_S, return_when="FIRST_COMPLETED")
            settled = [future for future in futures if future.status in ("finished", "error", "cancelled")]
            if settled:
                self._alone_since = None
                return settled
            self._require_workers(WITHOUT_WORKERS_S if patience_s is None else patience_s)

    def _require_workers(self, patience_s: float) -> None:
        if self._workers():
            self._alone_since = None
            return
        now, first = time.monotonic(), self._alone_since is None
        self._alone_since = self._alone_since or now
        if now - self._alone_since >= patience_s:
            raise CacheError(
                f"{self._address} has had no workers for {patience_s:.0f} s; what is finished is kept: start some "
                f"with dask worker {self._address}, and run the same command again"
            )
        if first:
            self._progress.note(f"{self._address} has no workers left; waiting for one")

    def _workers(self) -> int:
        """How many there are. Raises CacheError where the scheduler is lost."""
        self._require_scheduler()
        try:
            return len(self._client.nthreads())
        except OSError as error:
            raise self._lost() from error

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
            raise self._lost() from error
        except ImportError as error:
            raise ConfigError(f"a Dask worker lacks what fsmde needs ({error}); install fsmde there too") from error

    def _require_scheduler(self) -> None:
        if self._client.status != "running":
            raise self._lost()

    def _lost(self) -> CacheError:
        return CacheError(
            f"the Dask scheduler {self._address} was lost; what is finished is kept: see that it runs, "
            "and run the same command again"
        )


class _Tally:
    """Rigs done, from what workers tell: those of a task that failed, or died with its worker, count no more."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._partly: dict[str, int] = {}
        self._done = self._shown = 0
        self.begun: set[str] = set()

    def heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """A worker says how far it is."""
        news = event[1]
        self.reached(news["task"], news["done"])
        self._progress.working(news["name"], f"{news['task']}: {news['done']} of {news['rigs']}")

    def reached(self, task: str, done: int) -> None:
        """So many rigs of a task are done."""
        with self._lock:
            self.begun.add(task)
            self._partly[task] = done
            self._show()

    def finished(self, task: ShardTask, result: ShardResult) -> None:
        """A task is in the journal, or could not be done."""
        with self._lock:
            self._partly.pop(task.name, None)
            self._done += 0 if result.damaged else task.shard.rigs
            self._show()

    def _show(self) -> None:
        known = self._done + sum(self._partly.values())
        if known != self._shown:
            self._progress.advance(known - self._shown)
            self._shown = known
