"""What runs in a worker process: tasks of a run, one after the other, with the teacher kept in between."""

from __future__ import annotations

import os
import threading
from importlib.metadata import version

import torch

from cache_schema.errors import ConfigError
from stages.cache_teacher.shard_task import RunContext, ShardResult, ShardTask, Workbench, cache_shard

_bench: Workbench | None = None
_bench_lock = threading.Lock()


def run_task(context: RunContext, task: ShardTask, topic: str) -> ShardResult:
    """Do a task, and log to the topic how far it is."""
    from distributed import get_worker

    worker = get_worker()

    def tell(done: int) -> None:
        worker.log_event(topic, {"name": str(worker.name), "task": task.name, "done": done, "rigs": task.shard.rigs})

    tell(0)
    return cache_shard(_workbench(context), task, tell)


def load_teacher(context: RunContext) -> None:
    """Load the teacher of a run. Raises TeacherError, and ConfigError where the worker has another fsmde."""
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
