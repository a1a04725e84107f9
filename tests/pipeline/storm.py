"""A storm: stage 1 is killed, again and again, until it is let finish, and its cache is compared.

What happens follows from the seed, but for the time that threads and processes take.
"""

from __future__ import annotations

import gc
import math
import os
import random
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import forkserver, set_start_method
from pathlib import Path
from typing import Literal

import dask

from pipeline.version import code_version
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.execute import execute
from stages.cache_teacher.plan import plan
from stages.progress import Silent
from tests.pipeline.mortal import (
    ANY,
    AtOperation,
    AtTime,
    Death,
    FatalDataset,
    Last,
    Operations,
    last_of,
    readers,
)
from tests.pipeline.processes import FORK_SERVER

PATIENCE_S = 180.0
KINDS = (ANY, ANY, "shard", "shard", "journal record", "group record", "manifest")
"""Files at which a process dies, each as likely as the next."""


@dataclass(frozen=True)
class Workers:
    """Two worker processes, of which one dies of something, or has the main process die of it."""

    folder: Path
    """That of `FatalDataset`."""
    death: Death
    victim: Literal["worker", "main"]


@dataclass(frozen=True)
class Whole:
    """The uninterrupted run: what storms are compared with, and over what their instants are spread."""

    contents: dict[str, bytes]
    seconds: float
    last: Last
    shards: int

    @property
    def operations(self) -> Mapping[str, int]:
        """Durable operations by the kind of file."""
        return self.last.operations

    @property
    def operations_of_task(self) -> Mapping[str, int]:
        """Those of one shard, in the mean."""
        return {kind: number // self.shards for kind, number in self.last.in_shards.items()}


@dataclass(frozen=True)
class Storm:
    """One cache that was killed and finished."""

    seed: int
    kills: list[tuple[Death, Last]]
    differences: list[str]

    @property
    def in_shards(self) -> int:
        """Kills inside the write of a shard."""
        return sum(bool(last.shard) for _, last in self.kills)

    def __str__(self) -> str:
        lines = [f"storm {self.seed}:", *(f"  {death} hit {last}" for death, last in self.kills)]
        return "\n".join(lines + [f"  the cache {difference}" for difference in self.differences])


def uninterrupted(settings: CacheTeacherConfig, trace: Path) -> Whole:
    """Run stage 1 through."""
    start = time.monotonic()
    run(settings, trace)
    seconds, found = time.monotonic() - start, contents(settings)
    shards = sum("journal" in key and "teachers" in key and "group" not in key for key in found)
    return Whole(found, seconds, last_of(trace), shards)


def storm(seed: int, settings: CacheTeacherConfig, whole: Whole, trace: Path) -> Storm:
    """Kill stage 1 once to three times in a row, then let it finish. Raises RuntimeError where a run fails.

    Each run goes on where the last one died, so the later ones die earlier.
    """
    rng, left, kills = random.Random(seed), 1.0, []
    try:
        for _ in range(rng.randint(1, 3)):
            share = rng.uniform(0, left)
            left -= share
            death = _draw_death(rng, share, whole.seconds, whole.operations)
            if not run(settings, trace, death):
                break
            kills.append((death, last_of(trace)))
        run(settings, trace)
    except RuntimeError as error:
        raise RuntimeError(f"{Storm(seed, kills, [])}\n  {error}") from error
    return Storm(seed, kills, differences(contents(settings), whole.contents))


def storm_over_workers(
    seed: int,
    settings: CacheTeacherConfig,
    whole: Whole,
    folder: Path,
    victim: Literal["worker", "main"],
    death: Death | None = None,
) -> Storm:
    """Kill a worker, and the run finishes; or the main process, and another run starts while workers still write.

    The seed says when, unless `death` does. Raises RuntimeError where a run fails.
    """
    workers = Workers(folder, death or _draw_death_of_worker(seed, whole), victim)
    folder.mkdir()
    try:
        run(settings, folder / "main", workers=workers)
        if victim == "main":
            run(settings, folder / "main")
        found = contents(settings)
        _wait_for_orphans(folder)
    except RuntimeError as error:
        raise RuntimeError(f"storm {seed}: {workers}\n  {error}") from error
    killed = folder / "killed"
    kills = [(workers.death, last_of(killed))] if killed.exists() else []
    later = [f"{difference}, once the orphans are gone" for difference in differences(contents(settings), found)]
    return Storm(seed, kills, differences(found, whole.contents) + later)


def run(settings: CacheTeacherConfig, trace: Path, death: Death | None = None, workers: Workers | None = None) -> bool:
    """Stage 1 in a process of its own; whether it was killed. Raises RuntimeError where it fails or hangs."""
    in_child = death if isinstance(death, AtOperation) else None
    process = FORK_SERVER.Process(target=_stage_1, args=(settings, trace, in_child, workers))
    process.start()
    process.join(death.seconds if isinstance(death, AtTime) else PATIENCE_S)
    runs_still = process.is_alive()
    if runs_still:
        process.kill()
        process.join()
    code = process.exitcode
    process.close()
    if runs_still and not isinstance(death, AtTime):
        raise RuntimeError(f"stage 1 still ran after {PATIENCE_S} s; {last_of(trace)}")
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"stage 1 failed with status {code}; {last_of(trace)}\n{_error_file(trace).read_text()}")
    return code != 0


def _stage_1(settings: CacheTeacherConfig, trace: Path, death: AtOperation | None, workers: Workers | None) -> None:
    """What the process of a run does."""
    gc.freeze()  # a collection would touch, and so copy, every object that the server has imported
    try:
        _refuse_threads(os.getppid())
        _use_server_of_parent()
        set_start_method("fork", force=True)  # else numcodecs' lock is a semaphore with a name, which the killed leak
        Operations(trace, death).install()
        made = plan(settings if workers is None else settings.model_copy(update={"workers": 2}))
        if workers is not None:
            victim = os.getpid() if workers.victim == "main" else None
            dataset = FatalDataset(made.dataset, workers.folder, workers.death, victim)
            made = replace(made, dataset=dataset)
        execute(made, Silent(), code_version=code_version())
    except BaseException:
        _error_file(trace).write_text(traceback.format_exc())
        raise


def _refuse_threads(server: int) -> None:
    """What threads of the server hold at a fork would be held for ever."""
    threads = Path(f"/proc/{server}/task")
    if threads.is_dir() and len(list(threads.iterdir())) != 1:
        raise RuntimeError("the fork server has threads")


def _use_server_of_parent() -> None:
    """Have Dask fork workers from the server that forked this process.

    The multiprocessing of Python 3.11 says that a child uses its parent's server, yet would start another.
    """
    forkserver._forkserver.ensure_running = lambda: None
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})


def _error_file(trace: Path) -> Path:
    return trace.with_suffix(".error")


def _draw_death(rng: random.Random, share: float, seconds: float, operations: Mapping[str, int]) -> Death:
    """A death at a share of the time, or at a share of the operations on some kind of file."""
    if rng.random() < 1 / 3:
        return AtTime(share * seconds)
    kind = rng.choice([kind for kind in KINDS if kind in operations])
    number = max(1, math.ceil(share * operations[kind]))
    return AtOperation(number, kind, rng.choice(("before", "middle", "after")))


def _draw_death_of_worker(seed: int, whole: Whole) -> Death:
    """A death within about two tasks of a worker."""
    rng = random.Random(seed)
    operations = {kind: 2 * number for kind, number in whole.operations_of_task.items()}
    return _draw_death(rng, rng.random(), whole.seconds / 2, operations)


def _wait_for_orphans(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while orphans := readers(folder):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the workers {orphans} still run after {PATIENCE_S} s")
        time.sleep(0.02)


def contents(settings: CacheTeacherConfig) -> dict[str, bytes]:
    """Every file of the cache but the two that say who writes."""
    root = Path(settings.cache)
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {key: path.read_bytes() for key, path in files.items() if key not in (".fsmde/lock", ".fsmde/owner.json")}


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """What tells one cache from another, file by file."""
    lacking = [f"lacks {key}" for key in expected if key not in found]
    beyond = [f"has {key} beyond" for key in found if key not in expected]
    return lacking + beyond + [f"differs in {key}" for key in found if expected.get(key, found[key]) != found[key]]
