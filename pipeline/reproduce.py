"""The whole of the method in one run: cache, train every variant on the same data, evaluate, compare.

Everything that is done is skipped, so an interrupted run goes on when it is started again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema.durable import write_atomic
from cache_schema.errors import ConfigError
from stages.cache_teacher import execute as cache_execute
from stages.cache_teacher import plan as cache_plan
from stages.cache_teacher.config import CacheTeacherConfig
from stages.evaluate import execute as evaluate_execute
from stages.evaluate import plan as evaluate_plan
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.metrics import METRICS
from stages.evaluate.result import Evaluation, SubjectScores
from stages.progress import Progress
from stages.train import execute as train_execute
from stages.train import plan as train_plan
from stages.train.config import TrainConfig

VARIANTS: Mapping[str, Mapping[str, float]] = {
    "lidar": {"ckd": 0.0, "view_relation": 0.0},
    "vrkd": {"ckd": 0.0},
    "ckd": {"view_relation": 0.0},
    "ckd_vrkd": {},
}
"""Changes to the losses' weights; the first, LiDAR only with bins, is what the others are compared with."""


@dataclass(frozen=True)
class Reproduction:
    """Scores of every variant, and where the table was written."""

    evaluations: dict[str, Evaluation]
    table: Path


def reproduce(
    cache: CacheTeacherConfig,
    training: TrainConfig,
    out: Path,
    split: str,
    progress: Progress,
    say: Callable[[str], None],
    *,
    code_version: str,
) -> Reproduction:
    """Run all stages. Raises what the stages raise; what is finished by then is kept."""
    planned = cache_plan.plan(cache)
    known = [part.name for part in planned.splits]
    for name in (split, training.split):
        if name not in known:
            raise ConfigError(f"split {name!r} would not be in the cache, which gets: {', '.join(known)}")
    cache_execute.execute(planned, progress, code_version=code_version)
    evaluations = {}
    for variant, changes in VARIANTS.items():
        say(f"variant {variant}")
        run = out / variant
        settings = training.model_copy(update={"losses": training.losses.model_copy(update=dict(changes))})
        train_execute.execute(train_plan.plan(settings, cache.cache, run), progress, code_version=code_version)
        made = evaluate_plan.plan(EvaluateConfig(cache=cache.cache, run=run, split=split, device=cache.device))
        evaluations[variant] = evaluate_execute.execute(made, progress, code_version=code_version)
    table = out / "ablation.md"
    write_atomic(table, markdown(evaluations))
    return Reproduction(evaluations=evaluations, table=table)


def rows(evaluations: Mapping[str, Evaluation]) -> list[tuple[str, dict[str, float | None]]]:
    """Metrics without scaling of every variant's student, and of the cached teachers, aligned to LiDAR."""
    students = [(name, _unscaled(e, "student").mean.metrics) for name, e in evaluations.items()]
    *_, last = evaluations.values()
    teachers = [
        (f"{s.subject}, aligned", s.mean.metrics)
        for s in last.scores
        if s.subject.startswith("teacher ") and s.scaling == "none"
    ]
    return students + teachers


def markdown(evaluations: Mapping[str, Evaluation]) -> str:
    """The comparison as a Markdown page that says what it was made from."""
    first = next(iter(evaluations.values()))
    lines = [
        f"# {first.dataset} {first.split}: {first.rigs} rigs, protocol {first.protocol.name}",
        "",
        f"fsmde {first.code_version}; no scaling; change of AbsRel against `{next(iter(evaluations))}`.",
        "",
        "| variant | " + " | ".join(METRICS) + " | change |",
        "|---" * (len(METRICS) + 2) + "|",
    ]
    table = rows(evaluations)
    baseline = table[0][1]["abs_rel"]
    for name, metrics in table:
        figures = [_figure(metrics[metric]) for metric in METRICS]
        lines.append(f"| {name} | " + " | ".join([*figures, relative_change(metrics["abs_rel"], baseline)]) + " |")
    return "\n".join(lines) + "\n"


def relative_change(value: float | None, baseline: float | None) -> str:
    """Change against the baseline in percent, signed."""
    return "–" if value is None or not baseline else f"{100 * (value - baseline) / baseline:+.1f} %"


def _figure(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"


def _unscaled(evaluation: Evaluation, subject: str) -> SubjectScores:
    return next(s for s in evaluation.scores if s.subject == subject and s.scaling == "none")
