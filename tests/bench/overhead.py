"""Stage 1's whole wall time against the bare forward passes of the teacher on the same frames, in one run.

The teacher is Depth Anything V2 Small at its real size with random weights. Bare: the network alone, on inputs that
were prepared before, plain and mirrored, as stage 1 asks it.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from rich.table import Table

from stages.cache_teacher.config import CacheTeacherConfig, TeacherSettings
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.execute import execute
from stages.cache_teacher.plan import plan
from stages.cache_teacher.teachers import load_teacher
from stages.progress import Silent
from tests.bench.measure import folder_bytes
from tests.tiny_teachers import write_random_teacher

ROUNDS = 2


def table(dataset: DdadDataset, folder: Path) -> Table:
    teacher = write_random_teacher(folder / "teacher")
    rigs = len(dataset.samples("train"))
    bare, whole = [], []
    for number in range(ROUNDS):
        bare.append(forward_passes(dataset, teacher))
        whole.append(stage_1(dataset.root, teacher, folder / f"zarr-{number}"))
    shown = Table("", "s per rig", "ratio", title="Stage 1 against the bare teacher")
    shown.caption = (
        f"fastest of {ROUNDS}; {rigs} rigs, {torch.get_num_threads()} threads; stage 1 loads the teacher too"
    )
    shown.add_row("the network alone, plain and mirrored", f"{min(bare) / rigs:.2f}", "1")
    shown.add_row(
        "stage 1, from raw files to a complete cache", f"{min(whole) / rigs:.2f}", f"{min(whole) / min(bare):.3f}"
    )
    shown.add_row("", f"{folder_bytes(folder / 'zarr-0') / rigs / 1e6:.2f} MB per rig", "")
    return shown


def forward_passes(dataset: DdadDataset, path: Path) -> float:
    """Seconds of the network on all frames of the split train."""
    teacher = load_teacher(str(path))
    rigs = [dataset.load("train", ref) for ref in dataset.samples("train")]
    inputs = [teacher._preprocess(list(rig.images), 1.0).pixel_values for rig in rigs]
    start = time.perf_counter()
    with torch.inference_mode():
        for pixel_values in inputs:
            teacher._network(pixel_values=pixel_values)
            teacher._network(pixel_values=pixel_values.flip(-1))
    return time.perf_counter() - start


def stage_1(root: Path, teacher: Path, cache: Path) -> float:
    """Seconds of planning and carrying out stage 1 on the split train."""
    config = CacheTeacherConfig(
        dataset="ddad",
        root=root,
        cache=str(cache),
        splits=("train",),
        teacher=TeacherSettings(id=str(teacher)),
        device="cpu",
    )
    start = time.perf_counter()
    execute(plan(config), Silent(), code_version="bench")
    return time.perf_counter() - start
