"""Generating a street dataset: town by town, each a scene that is written aside and renamed when it is whole.

ddad.json comes last, so that a folder that holds it is complete. Interrupted and started again, it is the same bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path

from filelock import Timeout
from pydantic import ValidationError

from cache_schema.durable import TEMPORARY_SUFFIX, sync_folder, write_atomic
from cache_schema.errors import ConfigError, DatasetError
from cache_schema.lock import locked
from cache_schema.manifest import differing_fields
from cache_schema.places import refuse_file, refuse_inside, require_writable
from stages.cache_teacher.datasets.raw_files import read_json
from stages.cache_teacher.datasets.street.spec import SplitSpec, StreetSpec, scene_name
from stages.cache_teacher.datasets.street.write import DATASET_FILE, write_dataset_file, write_scene
from stages.child_process import obey_parent
from stages.progress import Progress
from stages.wording import counted

SPEC_FILE = "street.json"
"""What the dataset is made from; a folder that has it is ours."""
_LOCK_FILE = ".street.lock"
_LOOK_S = 0.2
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class StreetPlan:
    """A dataset to be generated. Made by `plan`, carried out by `execute`."""

    root: Path
    spec: StreetSpec
    pending: tuple[int, ...]
    """Towns whose scenes are not there yet."""
    complete: bool
    workers: int

    @property
    def rigs(self) -> int:
        """Rigs of all scenes."""
        return sum(len(split.towns) * split.rigs for split in self.spec.splits.values())

    @property
    def rigs_done(self) -> int:
        """Rigs of the scenes that are there."""
        return self.rigs - sum(_split_of(self.spec, town).rigs for town in self.pending)

    def describe(self) -> list[str]:
        """What would be done, one line each, for a person."""
        world = self.spec.world
        lines = [
            f"dataset  {self.spec.version} in {self.root}, {self.spec.size}",
            f"images   {world.width} × {world.height}, six cameras; LiDAR {world.lidar_beams} beams",
        ]
        for name, split in self.spec.splits.items():
            there = sum(town not in self.pending for town in split.towns)
            of = f"{counted(len(split.towns), 'town')} × {counted(split.rigs, 'rig')}"
            lines.append(f"{name:8} {of}; {counted(there, 'town')} done")
        return lines


def plan(spec: StreetSpec, root: Path, workers: int | None = None) -> StreetPlan:
    """Look at the folder, change nothing. `workers` processes render; as many as there are cores if not given.

    Raises DatasetError where the folder holds another dataset, or something else, ConfigError where it lies in one or
    cannot be written.
    """
    _refuse_other(spec, root)
    towns = [town for split in spec.splits.values() for town in split.towns]
    made = StreetPlan(
        root=root,
        spec=spec,
        pending=tuple(town for town in towns if not (root / scene_name(town)).is_dir()),
        complete=(root / DATASET_FILE).exists(),
        workers=workers or os.cpu_count() or 1,
    )
    if made.pending or not made.complete:
        require_writable(root, "DIR")
    return made


def execute(plan: StreetPlan, progress: Progress) -> int:
    """Carry out a plan; returns the rigs rendered now. Finished scenes stay, whatever happens.

    Raises DatasetError where another process writes the dataset, or a worker dies.
    """
    if plan.complete and not plan.pending:
        return 0
    plan.root.mkdir(parents=True, exist_ok=True)
    with _only_writer(plan.root):
        write_atomic(plan.root / SPEC_FILE, plan.spec.model_dump_json(indent=1) + "\n")
        progress.begin("street", plan.rigs, plan.rigs_done)
        if plan.pending:
            _render(plan, progress)
        scenes = {name: [scene_name(town) for town in split.towns] for name, split in plan.spec.splits.items()}
        write_dataset_file(plan.root, plan.spec.version, scenes)
    return plan.rigs - plan.rigs_done


def _refuse_other(spec: StreetSpec, root: Path) -> None:
    """Raise DatasetError where the folder holds something else than the beginning of this dataset."""
    refuse_file(root, "DIR")
    path = root / SPEC_FILE
    found = [name for name in sorted(os.listdir(root)) if not _ours(name)] if root.exists() else []
    if found == [SPEC_FILE]:
        return  # nothing came of it
    if path.exists():
        try:
            stored = StreetSpec.model_validate_json(read_json(path))
        except ValidationError as error:
            raise DatasetError(
                f"{path}: is not a street spec ({error.errors()[0]['msg']}); use another folder"
            ) from error
        if differences := differing_fields(stored, spec):
            raise DatasetError(
                f"{root}: holds a street dataset that differs in {'; '.join(differences)}; "
                "use another folder, or delete this one"
            )
    elif found:
        raise DatasetError(f"{root}: holds {found[0]} but no {SPEC_FILE}; expected an empty folder; use another one")
    else:
        refuse_inside(root, "DIR", "dataset")


def _ours(name: str) -> bool:
    return name == _LOCK_FILE or name.endswith(TEMPORARY_SUFFIX)


@contextmanager
def _only_writer(root: Path) -> Iterator[None]:
    try:
        with locked(root / _LOCK_FILE):
            yield
    except Timeout as error:
        raise DatasetError(f"{root}: another process is writing this dataset; wait for it or end it") from error


def _render(plan: StreetPlan, progress: Progress) -> None:
    """Render the pending towns in processes of one thread each: results do not depend on how many there are."""
    context = multiprocessing.get_context("spawn")
    rigs_done, stop = context.SimpleQueue(), context.Event()
    processes = min(plan.workers, len(plan.pending))
    with (
        _one_thread_each(),
        ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(rigs_done, stop)) as pool,
    ):
        waiting: set[Future[None]] = {pool.submit(_make_scene, plan.root, plan.spec, town) for town in plan.pending}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_LOOK_S, return_when=FIRST_EXCEPTION)
                while not rigs_done.empty():
                    progress.advance(rigs_done.get())
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise DatasetError(
                f"{plan.root}: a worker process died, perhaps for want of memory; finished towns are kept: "
                "run the same command again, with fewer --workers"
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


_RIGS_DONE: SimpleQueue[int]
_STOP: Event


def _start_worker(rigs_done: SimpleQueue[int], stop: Event) -> None:
    global _RIGS_DONE, _STOP
    _RIGS_DONE, _STOP = rigs_done, stop
    obey_parent()  # which tells us to stop where Ctrl-C is pressed


def _make_scene(root: Path, spec: StreetSpec, town: int) -> None:
    """Render one town into a folder aside, and rename it."""
    import torch

    from stages.cache_teacher.datasets.street import drive

    torch.set_num_threads(1)
    folder = root / scene_name(town)
    aside = folder.with_name(f"{folder.name}{TEMPORARY_SUFFIX}")
    shutil.rmtree(aside, ignore_errors=True)
    split = _split_of(spec, town)
    try:
        write_scene(aside, folder.name, drive(town, spec.world, split.rigs), lidar=split.lidar, tell=_tell)
    except ValueError as error:
        raise ConfigError(f"town {town} cannot be driven through as asked: {error}") from error
    aside.rename(folder)
    sync_folder(root)


def _tell() -> None:
    _RIGS_DONE.put(1)
    if _STOP.is_set():
        raise InterruptedError("the run was stopped")


def _split_of(spec: StreetSpec, town: int) -> SplitSpec:
    return next(split for split in spec.splits.values() if town in split.towns)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile compute in one thread: sums of several come out in another order."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
