"""Planning and resuming a large dataset: seconds and memory, for as many rigs as DDAD has and more."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cache_schema import CacheWriter, GroupWriter, TargetSpec, TeacherRecord
from cache_schema.journal import Journal, ShardRecord
from stages.cache_teacher.config import CacheTeacherConfig, TeacherSettings
from stages.cache_teacher.execute import shard_tasks
from stages.cache_teacher.plan import plan
from tests.dgp_world import write_dgp_world
from tests.tiny_cache import teacher_identity

SCENES, SAMPLES = 200, 100
DONE = 0.5
"""Share of the shards that an earlier run has finished."""


def table(folder: Path) -> Table:
    root = write_many_rigs(folder)
    context = multiprocessing.get_context("spawn")
    shown = Table("", "plan, s", "resume, s", "peak memory, MB", "of it for this, MB", title=f"{SCENES * SAMPLES} rigs")
    shown.caption = "resume: open the cache, read the journal, stat every file of the finished shards"
    for name in ("a new cache", "half of the shards done"):
        with context.Pool(1) as pool:
            planning, resuming, peak, before = pool.apply(measure, (root, folder / "zarr"))
        shown.add_row(name, f"{planning:.2f}", f"{resuming:.2f}", f"{peak:.0f}", f"{peak - before:.0f}")
        if name == "a new cache":
            finish_half(root, folder / "zarr")
    return shown


def measure(root: Path, cache: Path) -> tuple[float, float, float, float]:
    """Seconds to plan and to open what is pending; peak memory of the process, and what it had before, in MB."""
    before = peak_mb()
    start = time.perf_counter()
    planned = plan(config(root, cache))
    planning = time.perf_counter() - start
    with CacheWriter(cache, planned.identity, planned.config.image, code_version="bench") as writer:
        frames, targets = open_split(writer, planned)
        tasks = shard_tasks(planned.splits[0].samples, frames, targets)
    resuming = time.perf_counter() - start - planning
    assert sum(task.shard.rigs for task in tasks) >= SCENES * SAMPLES * (1 - DONE)
    return planning, resuming, peak_mb(), before


def peak_mb() -> float:
    """Most memory this process has had resident, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def config(root: Path, cache: Path) -> CacheTeacherConfig:
    teacher = TeacherSettings(id="none", name="none")
    return CacheTeacherConfig(dataset="ddad", root=root, cache=str(cache), splits=("train",), teacher=teacher)


def open_split(writer: CacheWriter, planned: Any) -> tuple[GroupWriter, GroupWriter]:
    record = TeacherRecord(identity=teacher_identity(), targets=TargetSpec(height=96, width=160))
    frames = writer.add_split("train", planned.splits[0].record)
    return frames, writer.add_teacher("train", "none", record)


def finish_half(root: Path, cache: Path) -> None:
    """Journal records and files of half of the shards; all shards share the bytes of one."""
    planned = plan(config(root, cache))
    with CacheWriter(cache, planned.identity, planned.config.image, code_version="bench") as writer:
        for group_writer in open_split(writer, planned):
            group = group_writer.group
            first = group_writer.write(
                group.shards[0],
                {a.name: np.zeros((group.record.shard_rigs, *a.shape(group.sizes)[1:]), a.dtype) for a in group.arrays},
            )
            journal = Journal(writer.storage, group.path)
            for shard in group.shards[1 : int(DONE * len(group.shards))]:
                files = {}
                for array in group.arrays:
                    one, this = group.key(array, 0), group.key(array, shard.index)
                    os.link(cache / one, cache / this)
                    files[this] = first.files[one]
                journal.append(
                    ShardRecord(
                        shard=shard.index,
                        start=shard.start,
                        stop=shard.stop,
                        config_sha256=first.config_sha256,
                        files=files,
                    )
                )


def write_many_rigs(folder: Path) -> Path:
    """A dataset of many scenes in DGP's format, whose samples share the files of one."""
    one = write_dgp_world(folder / "one", scenes=1, samples=1)
    root = folder / "many"
    scene_file = next((one / "000000").glob("scene_*.json"))
    scene = json.loads(scene_file.read_text())
    files = []
    for number in range(SCENES):
        path = root / f"{number:06d}"
        path.mkdir(parents=True)
        for part in ("rgb", "point_cloud"):
            (path / part).symlink_to(one / "000000" / part)
        shutil.copytree(one / "000000" / "calibration", path / "calibration")
        copies = [[renamed(datum, f"{number}-{sample}") for datum in scene["data"]] for sample in range(SAMPLES)]
        samples = [scene["samples"][0] | {"datum_keys": [datum["key"] for datum in datums]} for datums in copies]
        whole = scene | {"data": [datum for datums in copies for datum in datums], "samples": samples}
        (path / scene_file.name).write_text(json.dumps(whole))
        files.append(f"{path.name}/{scene_file.name}")
    splits = {"0": {"filenames": files}, "1": {"filenames": files[:1]}}
    (root / "ddad.json").write_text(json.dumps({"metadata": {"name": "many", "version": "1"}, "scene_splits": splits}))
    return root


def renamed(datum: dict[str, Any], suffix: str) -> dict[str, Any]:
    return datum | {"key": f"{datum['key']}-{suffix}"}
