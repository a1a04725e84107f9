"""Two training runs compared on the same rigs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cache_schema import Cache
from cache_schema.errors import EvaluationError
from cache_schema.manifest import Record
from pipeline.study.figures import figures_of
from pipeline.study.paired import Estimate, differences, drawn_figures, improvements
from stages.evaluate.config import metrics_file
from stages.evaluate.files import data_label, is_of, read_evaluation, results
from stages.evaluate.protocol import Protocol, asked_by
from stages.evaluate.result import Evaluation
from stages.evaluate.rig_scores import read_rig_scores, rig_scores_file


class ComparedFigure(Record):
    """A figure of both runs, unscaled; names as in `figures.py`."""

    first: float | None
    second: float | None
    difference: Estimate
    """What the second has more than the first."""
    improvement: Estimate
    """The relative change for the better from the first to the second; of a δ, of what is missing to 1."""


class TwoRuns(Record):
    """The whole of what `fsmde compare --out` writes."""

    schema_version: Literal[1] = 1
    code_version: str
    first: str
    second: str
    dataset: str
    dataset_version: str
    split: str
    rigs: int
    scenes: int
    protocol: Protocol
    figures: dict[str, ComparedFigure]
    mean_improvement: dict[str, Estimate]
    """`lidar` and `dense`: over AbsRel, SqRel, RMSE, RMSElog and 1 − δ1."""


def compare_runs(
    first: Path, second: Path, split: str, protocol: str, cache: str | None = None, *, code_version: str
) -> TwoRuns:
    """Compare the students of two runs from what `fsmde evaluate` left, on this cache or the data of both.

    Raises EvaluationError where one of them was not scored, or not on the same rigs by the same protocol.
    """
    files = _files(first, second, split, protocol, None if cache is None else Cache(cache))
    one, other = (read_evaluation(file) for file in files)
    rig_scores = [read_rig_scores(rig_scores_file(file)) for file in files]
    for name in ("dataset", "dataset_version", "protocol"):
        if (found := getattr(other, name)) != (wanted := getattr(one, name)):
            raise EvaluationError(f"{files[1]} is of {name} {found}, {files[0]} of {wanted}; score both alike")
    rigs = [list(zip(scores.scenes, scores.samples, strict=True)) for scores in rig_scores]
    if rigs[0] != rigs[1]:
        strange = next((rig for rig in (*rigs[1], *rigs[0]) if rig not in rigs[0] or rig not in rigs[1]), None)
        which = f"{strange[0]} {strange[1]} is in one alone" if strange else "their order differs"
        raise EvaluationError(f"{files[0]} and {files[1]} are of other rigs ({which}); score both on the same split")
    drawn = [drawn_figures([scores]) for scores in rig_scores]
    if not all(drawn):
        raise EvaluationError(f"{files[0]} or {files[1]} holds no student's scores; score with --run")
    difference, improvement = differences(drawn[1], drawn[0]), improvements(drawn[1], drawn[0])
    known = [figures_of(evaluation, "student") for evaluation in (one, other)]
    return TwoRuns(
        code_version=code_version,
        first=str(first),
        second=str(second),
        dataset=one.dataset,
        dataset_version=one.dataset_version,
        split=one.split,
        rigs=len(rigs[0]),
        scenes=len(set(rig_scores[0].scenes)),
        protocol=one.protocol,
        figures={
            name: ComparedFigure(
                first=known[0].get(name),
                second=known[1].get(name),
                difference=change,
                improvement=improvement[name],
            )
            for name, change in difference.items()
        },
        mean_improvement={
            truth: improvement[f"{truth}.mean"] for truth in ("lidar", "dense") if f"{truth}.mean" in improvement
        },
    )


def _files(first: Path, second: Path, split: str, protocol: str, cache: Cache | None) -> tuple[Path, Path]:
    """The results to compare: on the same data where both have any, those with plain names before others."""
    found = [_scored(run, split, protocol, cache) for run in (first, second)]
    alike = [
        (one, other)
        for one, first_result in found[0].items()
        for other, second_result in found[1].items()
        if first_result.data_sha256 == second_result.data_sha256
    ]
    return alike[0] if alike else (next(iter(found[0])), next(iter(found[1])))


def _scored(run: Path, split: str, protocol: str, cache: Cache | None) -> dict[Path, Evaluation]:
    """Results of a run, by their files. Raises EvaluationError where there is none."""
    if not run.is_dir():
        raise EvaluationError(f"{run}: no such folder; expected a training run")
    found = {file: result for file, result in results(run, split).items() if result.protocol.name == protocol}
    label = ""
    if cache is not None:
        found = {file: result for file, result in found.items() if is_of(result, cache.manifest, split)}
        label = data_label(run, cache.manifest, split) if split in cache.manifest.splits else ""
    if not found:
        where = "ZARR" if cache is None else cache.location
        asked = f"fsmde evaluate --cache {where} --run {run} --split {split} --protocol {asked_by(protocol)}"
        file = metrics_file(run, split, protocol, label)
        raise EvaluationError(f"{file} is not there; score the run first: {asked}")
    return found
