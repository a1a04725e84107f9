"""`fsmde evaluate`: stage 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline import config
from pipeline.commands.options import Assignments, CacheFolder, ConfigFile, Device
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.version import code_version
from stages.wording import counted

if TYPE_CHECKING:
    from stages.evaluate.result import ConditionScores, CrossViewScores, Evaluation, Score, SubjectScores


def command(
    cache: CacheFolder = None,
    run: Annotated[Path | None, typer.Option(help="Training run whose student is scored.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to score on.  [default: val]")] = None,
    protocol: Annotated[str | None, typer.Option(help="Protocol: native or network.  [default: native]")] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="Cached teacher to score too; repeatable.  [default: all]")
    ] = None,
    device: Device = None,
    config_file: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Score a student, and the cached teachers aligned to LiDAR, on a split of the cache.

    The truth is LiDAR and, where the cache has it, dense depth.
    """
    options = {
        "cache": cache,
        "run": run,
        "split": split,
        "protocol": protocol,
        "teachers": teacher or None,
        "device": device,
    }
    with one_line_errors():
        from stages.evaluate.config import EvaluateConfig
        from stages.evaluate.execute import execute
        from stages.evaluate.plan import plan

        console = Console()
        made = plan(config.build(EvaluateConfig, config_file, assignments or [], options))
        with ProgressBar(console, "rigs") as progress:
            evaluation = execute(made, progress, code_version=code_version())
        print_tables(console, evaluation)
        if made.output is not None:
            console.print(f"Written to {made.output}", markup=False, highlight=False)


def print_tables(console: Console, evaluation: Evaluation) -> None:
    """Means of every subject and scaling against each truth, what neighbouring cameras agree on, and by camera."""
    low, high = evaluation.protocol.range_m
    console.print(
        f"{evaluation.dataset} {evaluation.dataset_version} {evaluation.split}, {counted(evaluation.rigs, 'rig')}; "
        f"protocol {evaluation.protocol.name}, {low:g} < depth < {high:g} m",
        highlight=False,
    )
    _print_means(console, "at LiDAR points", evaluation.scores)
    _print_means(console, "at dense depth", evaluation.dense_scores)
    _print_cross_view(console, evaluation.cross_view)
    if not evaluation.scores:
        return
    first = evaluation.scores[0]
    cameras = _table(f"{first.subject} by camera", _HEADINGS.values())
    for camera, score in first.cameras.items():
        cameras.add_row(camera, *_figures(score, _HEADINGS))
    console.print(cameras, "")
    _print_conditions(console, first.subject, evaluation)
    dense = f", {evaluation.dense_scores[0].mean.points} pixels with dense depth" if evaluation.dense_scores else ""
    console.print(
        f"{first.mean.images} images, {first.mean.points} LiDAR points{dense}. Teachers have no scale of their own: "
        "they are fitted to the LiDAR of each image, by least squares in disparity.",
        highlight=False,
    )


def _print_means(console: Console, what: str, all_scores: Sequence[SubjectScores]) -> None:
    if not all_scores:
        return
    table = _table(what, _HEADINGS.values())
    for scores in all_scores:
        name = scores.subject if scores.scaling == "none" else f"  {_SCALING[scores.scaling]}"
        table.add_row(name, *_figures(scores.mean, _HEADINGS))
    console.print(table, "")


def _print_conditions(console: Console, subject: str, evaluation: Evaluation) -> None:
    """By light and weather, at LiDAR points."""
    shown = [scores for scores in evaluation.conditions if (scores.subject, scores.truth) == (subject, "lidar")]
    if not shown:
        return
    table = _table(f"{subject} by condition", _HEADINGS.values())
    for scores in shown:
        table.add_row(f"{scores.condition}, {counted(scores.rigs, 'rig')}", *_figures(scores, _HEADINGS))
    console.print(table, "")


def _print_cross_view(console: Console, all_scores: Sequence[CrossViewScores]) -> None:
    """Without scaling: medians per rig change what cameras agree on little, those per image bring truth into it."""
    shown = [scores for scores in all_scores if scores.scaling == "none"]
    if not shown:
        return
    table = _table("where views overlap", ["truth", "AbsRel", "RMSE", "δ1", "apart", "apart, m"])
    for scores in shown:
        overlap = _figures(scores.overlap_mean, ("abs_rel", "rmse", "delta_1"))
        table.add_row(scores.subject, scores.truth, *overlap, *_figures(scores.consistency_mean, ("rel", "rmse")))
    console.print(table, "")


_SCALING = {"median_image": "median per image", "median_rig": "median per rig"}
_HEADINGS = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSElog",
    "silog": "SILog",
    "delta_1": "δ1",
    "delta_2": "δ2",
    "delta_3": "δ3",
}


def _table(first: str, headings: Iterable[str]) -> Table:
    """A table that fits a terminal of 80 columns: long names fold, figures never do."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold underline")
    table.add_column(first, min_width=20, max_width=24, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(len(heading), len("0.000")))
    return table


def _figures(score: Score | ConditionScores, metrics: Iterable[str]) -> list[str]:
    values = [score.metrics[metric] for metric in metrics]
    return ["–" if value is None else f"{value:.3f}" for value in values]
