"""`result.json`: everything that the table and the report say, for machines."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, JsonValue

from cache_schema import Cache
from cache_schema.manifest import Record
from pipeline.reproduce.latency import Latency
from pipeline.reproduce.plan import Comparison
from pipeline.reproduce.variants import BASELINE, compared
from pipeline.study.figures import Figure, Figures, change, figures_of, gain, over_seeds
from pipeline.study.parts import seconds, wall_time
from stages.device import choose_device
from stages.evaluate.protocol import Protocol
from stages.evaluate.result import Evaluation
from stages.train.checkpoint import checkpoints, read_state


class Row(Record):
    """One line of the table: a variant over its seeds, or a teacher of the cache, aligned to LiDAR."""

    name: str
    kind: Literal["variant", "teacher"]
    says: str
    figures: dict[str, Figure]
    change: dict[str, Figure] = Field(default_factory=dict)
    """Against the baseline, seed by seed: of AbsRel by truth, and as `lidar.gain` over all eight metrics."""


class Machine(Record):
    """Where it ran."""

    system: str
    processor: str
    cores: int
    threads: int
    device: str
    python: str
    torch: str


class Data(Record):
    """What it ran on."""

    dataset: str
    version: str
    split: str
    train_rigs: int
    unlabelled_rigs: int = 0
    """Further rigs, without LiDAR."""
    rigs: int
    """Of the split that is scored."""
    views: int


class ComparisonResult(Record):
    """The whole of `result.json`."""

    schema_version: Literal[1] = 1
    code_version: str
    settings: dict[str, JsonValue]
    seeds: tuple[int, ...]
    baseline: str = BASELINE
    note: str = ""
    data: Data
    protocol: Protocol
    steps: int
    """Optimizer steps of each run."""
    machine: Machine
    rows: tuple[Row, ...]
    latency: Latency
    seconds: dict[str, float]
    """Wall time of each part, some of which ran at the same time."""
    wall_s: float
    """Wall time of all."""

    def row(self, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows if row.name == name), None)

    def knows(self, figure: str) -> bool:
        """Whether any row has the figure."""
        return any(row.figures.get(figure) is not None and row.figures[figure].mean is not None for row in self.rows)


def collect(comparison: Comparison) -> ComparisonResult:
    """Read what the parts of a finished comparison left."""
    variants = compared(comparison.config)
    scored = {variant: [_read(comparison.metrics(variant, seed)) for seed in comparison.seeds] for variant in variants}
    runs = {variant: [figures_of(each, "student") for each in found] for variant, found in scored.items()}
    rows = [
        Row(
            name=variant,
            kind="variant",
            says=variants[variant].says,
            figures=over_seeds(runs[variant]),
            change={} if variant == BASELINE else _changes(runs[variant], runs[BASELINE]),
        )
        for variant in variants
    ]
    teachers = _read(comparison.teachers)
    return ComparisonResult(
        code_version=comparison.code_version,
        settings=comparison.config.model_dump(mode="json"),
        seeds=comparison.seeds,
        note=comparison.config.note,
        data=_data(comparison),
        protocol=teachers.protocol,
        steps=read_state(checkpoints(comparison.run(BASELINE, comparison.seeds[0]))[-1]).step,
        machine=_machine(comparison.config.train.device),
        rows=(*rows, *_teacher_rows(teachers)),
        latency=Latency.model_validate_json(comparison.latency.read_bytes()),
        seconds=seconds(comparison.parts(), comparison.records),
        wall_s=wall_time(comparison.records),
    )


def _changes(runs: list[Figures], baseline: list[Figures]) -> dict[str, Figure]:
    changes = {}
    for truth in ("lidar", "dense"):
        changes[f"{truth}.abs_rel"] = change(runs, baseline, f"{truth}.abs_rel")
        changes[f"{truth}.gain"] = gain(runs, baseline, truth)
    return {name: figure for name, figure in changes.items() if figure.mean is not None}


def _teacher_rows(evaluation: Evaluation) -> list[Row]:
    subjects = dict.fromkeys(score.subject for score in evaluation.scores)
    says = "the cached targets, scale and shift of each image fitted to its LiDAR points"
    return [
        Row(name=subject, kind="teacher", says=says, figures=over_seeds([figures_of(evaluation, subject)]))
        for subject in subjects
    ]


def _data(comparison: Comparison) -> Data:
    config = comparison.config
    manifest = Cache(config.cache.cache).manifest
    unlabelled = config.unlabelled_cache
    further = {} if unlabelled is None else Cache(unlabelled.cache).manifest.splits
    return Data(
        dataset=manifest.dataset.name,
        version=manifest.dataset.version,
        split=config.split,
        train_rigs=manifest.splits[config.train.split].rigs,
        unlabelled_rigs=sum(split.rigs for split in further.values()),
        rigs=manifest.splits[config.split].rigs,
        views=len(manifest.dataset.cameras),
    )


def _machine(device: str) -> Machine:
    chosen = choose_device(device)
    return Machine(
        system=platform.platform(),
        processor=platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type,
        python=platform.python_version(),
        torch=torch.__version__,
    )


def _read(file: Path) -> Evaluation:
    return Evaluation.model_validate_json(file.read_bytes())
