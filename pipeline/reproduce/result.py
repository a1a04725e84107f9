"""`result.json` of `fsmde reproduce`: that of its study, and how long teacher and student take."""

from __future__ import annotations

from cache_schema import Cache
from pipeline.latency import Latency
from pipeline.reproduce.plan import Comparison
from pipeline.reproduce.variants import BASELINE
from pipeline.study import result as study_result
from pipeline.study.figures import Figure, Figures, change, figures_of, gain
from pipeline.study.parts import seconds
from pipeline.study.result import Row, ScoredData, StudyResult
from stages.evaluate.files import read_evaluation


class Data(ScoredData):
    """What it ran on."""

    train_rigs: int
    unlabelled_rigs: int = 0
    """Further rigs, without LiDAR."""


class ComparisonResult(StudyResult):
    """The whole of `result.json`."""

    data: Data
    steps: int
    """Optimizer steps of each run."""
    latency: Latency


def collect(comparison: Comparison) -> ComparisonResult:
    """Read what the parts of a finished comparison left."""
    study = comparison.study
    found = study_result.collect(study)
    figures = {
        trial.name: [figures_of(read_evaluation(study.metrics(trial, seed)), "student") for seed in study.seeds]
        for trial in study.trials
    }
    rows = [_with_changes(row, figures) for row in found.rows]
    base = found.row(BASELINE)
    assert base is not None
    assert base.steps is not None
    return ComparisonResult(
        **found.model_dump(exclude={"data", "rows", "seconds"}),
        data=_data(comparison, found.data),
        rows=tuple(rows),
        seconds=seconds(comparison.parts(), study.records),
        steps=base.steps,
        latency=Latency.model_validate_json(comparison.latency.read_bytes()),
    )


def _with_changes(row: Row, runs: dict[str, list[Figures]]) -> Row:
    if row.kind == "teacher" or row.name == BASELINE:
        return row
    changes: dict[str, Figure] = {}
    for truth in ("lidar", "dense"):
        changes[f"{truth}.abs_rel"] = change(runs[row.name], runs[BASELINE], f"{truth}.abs_rel")
        changes[f"{truth}.gain"] = gain(runs[row.name], runs[BASELINE], truth)
    known = {name: figure for name, figure in changes.items() if figure.mean is not None}
    return row.model_copy(update={"change": known})


def _data(comparison: Comparison, scored: ScoredData) -> Data:
    unlabelled = comparison.config.unlabelled_cache
    further = {} if unlabelled is None else Cache(unlabelled.cache).manifest.splits
    train = Cache(comparison.config.cache.cache).manifest.splits[comparison.config.train.split]
    return Data(
        **scored.model_dump(),
        train_rigs=train.rigs,
        unlabelled_rigs=sum(split.rigs for split in further.values()),
    )
