"""Where the workers of stage 1 come from: a Dask cluster that runs already, or one of our own on this machine.

Ctrl-C reaches every process of a terminal. Of ours only the first one hears it, and ends the others in order.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import active_children, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from cache_schema.errors import ConfigError

CONNECT_S = 15
FIRST_WORKER_S = 60
TRIES = 3


@contextmanager
def open_cluster(scheduler: str | None, workers: int, tell: Callable[[str], None]) -> Iterator[Any]:
    """A client of the scheduler at an address, or of one of our own with so many worker processes.

    Raises ConfigError where there is none, or where it has no workers.
    """
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    if scheduler is not None:
        with silence_logging_cmgr(logging.CRITICAL), _connected(scheduler, tell) as client:
            yield client
        return
    with _local_cluster() as cluster, _begun(lambda: Client(cluster)) as client:
        cluster.scale(workers)
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER_S)
        except TimeoutError as error:
            raise ConfigError(f"no worker started in {FIRST_WORKER_S} s; leave out --workers to see why") from error
        yield client


@contextmanager
def _local_cluster() -> Iterator[Any]:
    """A scheduler in this process, on the loopback device, that starts workers when it is told how many."""
    from distributed import LocalCluster

    others = set(active_children())
    with _deaf_to_ctrl_c():
        cluster = _begun(
            lambda: LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                memory_limit=0,  # a task holds one shard; Dask's own limit would kill what the machine can bear
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        )
    try:
        yield cluster
    finally:
        _close(cluster, others)


def _close(cluster: Any, others: set[BaseProcess]) -> None:
    """End the workers, which have seconds to finish a shard; on Ctrl-C meanwhile, kill all children but the `others`.

    A thread closes the cluster, since Dask gives up where it is interrupted, and then waits 10 s at the end of the
    process for a cluster that nobody closes any more.
    """
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(cluster.close)
        try:
            closing.result()
        except KeyboardInterrupt:
            while not closing.done():
                for worker in set(active_children()) - others:
                    worker.kill()
                wait([closing], timeout=0.1)
            raise


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Threads begun meanwhile do not hear Ctrl-C, nor do the processes that these start, from their first moment."""
    resource_tracker.ensure_running()  # on its start it would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _connected(scheduler: str, tell: Callable[[str], None]) -> Iterator[Any]:
    """A client of a running scheduler, with the TLS settings of Dask's own configuration."""
    from distributed import Client

    try:
        client = _begun(lambda: Client(scheduler, timeout=CONNECT_S))
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler} ({' '.join(str(error).split())}); start one with: "
            "dask scheduler. For tls:// set distributed.comm.tls in Dask's configuration"
        ) from error
    with client:
        if not client.nthreads():
            tell(f"{scheduler} has no workers yet; start some with: dask worker {scheduler}")
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER_S)
        except TimeoutError as error:
            raise ConfigError(f"{scheduler} has no workers; start some with: dask worker {scheduler}") from error
        yield client


def _begun(make: Callable[[], Any]) -> Any:
    """A part of Dask with a thread of its own, which has 10 s to start; on a busy machine that takes longer at times.

    Dask then fails an assertion. Raises ConfigError where that happens again and again.
    """
    for _ in range(TRIES):
        try:
            return make()
        except AssertionError as error:
            slow = error
    raise ConfigError(f"Dask's thread did not start in 10 s, {TRIES} times: this machine is too busy") from slow


def dashboard(client: Any) -> str:
    """For a message: the address of the dashboard, where the scheduler has one: it needs bokeh there."""
    has_one = client.run_on_scheduler(find_spec, "bokeh") is not None
    return f", dashboard {client.dashboard_link}" if has_one and client.dashboard_link else ""
