"""From evaluations to named figures, and from the figures of several seeds to a mean and a spread.

A figure's name says what it was computed against, and how: `lidar.abs_rel`, `dense.median_image.rmse`,
`dense.overlap.abs_rel` (points that a neighbouring camera sees too), `dense.consistency.rel`, `lidar.10-30m.rmse`
(by the depth of the truth), `lidar.border.rmse` (by place in the image).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from cache_schema.manifest import Record
from stages.evaluate.metrics import METRICS
from stages.evaluate.result import Evaluation

HIGHER_IS_BETTER = ("delta_1", "delta_2", "delta_3")

Figures = dict[str, float | None]


class Figure(Record):
    """One figure of every seed; with a single seed there is no spread."""

    values: tuple[float | None, ...]
    mean: float | None
    spread: float | None
    """Standard deviation of the sample (n − 1)."""


def figures_of(evaluation: Evaluation, subject: str) -> Figures:
    """All figures of one subject: the means over cameras, or over pairs of cameras."""
    found: Figures = {}
    for score in (*evaluation.scores, *evaluation.dense_scores):
        if score.subject == subject:
            found |= _named(_prefix(score.truth, score.scaling), score.mean.metrics)
    for cross in evaluation.cross_view:
        if cross.subject == subject:
            prefix = _prefix(cross.truth, cross.scaling)
            found |= _named(f"{prefix}.overlap", cross.overlap_mean.metrics)
            found |= _named(f"{prefix}.consistency", cross.consistency_mean.metrics)
    for part in evaluation.parts:
        if part.subject == subject and part.kind in ("depth", "place"):
            found |= _named(f"{part.truth}.{part.part}", part.metrics)
    return found


def over_seeds(runs: Sequence[Figures]) -> dict[str, Figure]:
    """Every figure over the runs of a variant."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: figure([run.get(name) for run in runs]) for name in names}


def figure(values: Sequence[float | None]) -> Figure:
    """Mean and spread of what is there."""
    known = [value for value in values if value is not None]
    return Figure(
        values=tuple(values),
        mean=statistics.fmean(known) if known else None,
        spread=statistics.stdev(known) if len(known) > 1 else None,
    )


def change(runs: Sequence[Figures], baseline: Sequence[Figures], name: str) -> Figure:
    """Relative change of a figure against the baseline's run with the same seed; −0.05 is 5 % less."""
    return figure([_relative(run.get(name), base.get(name)) for run, base in zip(runs, baseline, strict=True)])


def gain(runs: Sequence[Figures], baseline: Sequence[Figures], truth: str) -> Figure:
    """Mean over the eight metrics of the relative change for the better, against the run with the same seed."""

    def of_seed(run: Figures, base: Figures) -> float | None:
        gains = []
        for metric in METRICS:
            moved = _relative(run.get(f"{truth}.{metric}"), base.get(f"{truth}.{metric}"))
            if moved is None:
                return None
            gains.append(moved if metric in HIGHER_IS_BETTER else -moved)
        return statistics.fmean(gains)

    return figure([of_seed(run, base) for run, base in zip(runs, baseline, strict=True)])


def _prefix(truth: str, scaling: str) -> str:
    return truth if scaling == "none" else f"{truth}.{scaling}"


def _named(prefix: str, metrics: Mapping[str, float | None]) -> Figures:
    return {f"{prefix}.{name}": value for name, value in metrics.items()}


def _relative(value: float | None, baseline: float | None) -> float | None:
    return None if value is None or not baseline else (value - baseline) / baseline
