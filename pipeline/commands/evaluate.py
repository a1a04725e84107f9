"""`fsmde evaluate`: stage 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline import config
from pipeline.commands.options import Assignments, CacheFolder, ConfigFile, Device
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal
from pipeline.version import code_version
from stages.wording import counted

if TYPE_CHECKING:
    from stages.evaluate.protocol import ProtocolSettings
    from stages.evaluate.result import CrossViewScores, Evaluation, PartScores, Score, SubjectScores


def command(
    cache: CacheFolder = None,
    run: Annotated[Path | None, typer.Option(help="Training run whose student is scored.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to score on.  [default: val]")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="native, network, or a YAML file of your own; repeatable.  [default: native]"),
    ] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="Cached teacher to score too; repeatable.  [default: all]")
    ] = None,
    metric_from: Annotated[
        str | None, typer.Option(help="Split with LiDAR to make the teachers metric by; they are scored so too.")
    ] = None,
    device: Device = None,
    config_file: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Score a student, and the cached teachers aligned to LiDAR, on a split of the cache.

    The truth is LiDAR and, where the cache has it, dense depth.
    """
    with one_line_errors():
        from stages.evaluate.config import DEFAULT_SPLIT, EvaluateConfig
        from stages.evaluate.execute import execute
        from stages.evaluate.plan import plan

        options = {
            "cache": cache,
            "run": run,
            "split": split,
            "protocols": [read_protocol(asked) for asked in protocol] if protocol else None,
            "teachers": teacher or None,
            "metric_from": metric_from,
            "device": device,
        }
        console = terminal()
        made = plan(config.build(EvaluateConfig, config_file, assignments or [], options))
        for line in made.describe():
            console.print(line, soft_wrap=True)
        with ProgressBar(console, "rigs") as progress:
            evaluations = execute(made, progress, code_version=code_version())
        print_tables(console, evaluations)
        for by in made.protocols:
            if (output := made.output(by)) is not None:
                console.print(f"Written to {output}", soft_wrap=True)
        if made.label:
            plain = "the run has scores on other data too, which stay as they are"
            console.print(f"{made.label} is in the names because {plain}", soft_wrap=True)
        if made.config.run is not None:
            split = "" if made.config.split == DEFAULT_SPLIT else f" --split {made.config.split}"
            report = f"fsmde report --cache {made.config.cache} --run {made.config.run}{split}"
            console.print(f"Next: {report}", soft_wrap=True)


def read_protocol(asked: str) -> str | ProtocolSettings:
    """A protocol's name, or settings of one's own where it is a YAML file. Raises ConfigError."""
    from stages.evaluate.protocol import ProtocolSettings

    file = Path(asked)
    if file.suffix not in (".yaml", ".yml"):
        return asked
    return config.validated(ProtocolSettings, config.read_yaml(file, "--protocol"), f"protocol in {file}")


def print_tables(console: Console, evaluations: Sequence[Evaluation]) -> None:
    """Means of every subject and scaling by each protocol, side by side; of the first, also parts of what is scored."""
    first = evaluations[0]
    console.print(f"{first.dataset} {first.dataset_version} {first.split}, {counted(first.rigs, 'rig')}")
    for evaluation in evaluations:
        console.print(f"protocol {evaluation.protocol.in_words}")
    _print_means(console, "at LiDAR points", {e.protocol.name: e.scores for e in evaluations})
    _print_means(console, "at dense depth", {e.protocol.name: e.dense_scores for e in evaluations})
    _print_published(console, first)
    _print_cross_view(console, first.cross_view)
    if not first.scores:
        return
    subject = first.scores[0]
    cameras = _table(f"{subject.subject} by camera", _HEADINGS.values())
    for camera, score in subject.cameras.items():
        cameras.add_row(camera, *_figures(score, _HEADINGS))
    console.print(cameras, "")
    for kind in _PARTS:
        wanted = (kind, "lidar", subject.subject)
        shown = [part for part in first.parts if (part.kind, part.truth, part.subject) == wanted]
        _print_parts(console, f"{subject.subject} by {kind}", shown)
    _print_counts(console, first, subject)


def _print_counts(console: Console, evaluation: Evaluation, scores: SubjectScores) -> None:
    from stages.evaluate.bootstrap import reach

    mean = scores.mean
    dense = f", {evaluation.dense_scores[0].mean.points} pixels with dense depth" if evaluation.dense_scores else ""
    says = [f"{mean.images} images, {mean.points} LiDAR points{dense}."]
    if mean.images_without_points:
        says.append(f"{counted(mean.images_without_points, 'image')} without a point in range.")
    if mean.clamped:
        says.append(f"At {counted(mean.clamped, 'point')} the prediction was clamped.")
    scenes = len({part.part for part in evaluation.parts if part.kind == "scene"})
    if (ends := scores.intervals.get("abs_rel")) is not None:
        over = f"{counted(evaluation.rigs, 'rig')} of {counted(scenes, 'scene')}"
        says.append(f"AbsRel of {scores.subject}: 95 % interval {ends[0]:.3f} to {ends[1]:.3f} over {over}.")
    if scenes and (limits := reach(scenes, evaluation.rigs)):
        says.append(limits)
    says += [
        f"Worst: {rig.scene} {rig.sample}, AbsRel {rig.abs_rel:.3f}."
        for rig in evaluation.worst[:1]
        if (rig.subject, rig.truth) == (scores.subject, "lidar")
    ]
    says.append(
        "Teachers have no scale of their own: they are fitted to the LiDAR of each image, by least squares in "
        "disparity, or as if the disparity had no shift, by medians only."
    )
    says += [
        f"{teacher.teacher} as a metric teacher has the scale that the LiDAR of split {teacher.split} tells."
        for teacher in evaluation.metric_teachers
    ]
    console.print(" ".join(says))


def _print_means(console: Console, what: str, by_protocol: Mapping[str, Sequence[SubjectScores]]) -> None:
    """One row for each subject and scaling; several protocols side by side, in those metrics that there is room for."""
    from stages.evaluate.protocol import SCALED

    alone = len(by_protocol) == 1
    shown = _HEADINGS if alone else {m: _HEADINGS[m] for m in SIDE_BY_SIDE[: max(1, ROOM // len(by_protocol))]}
    rows: dict[tuple[str, str], dict[str, SubjectScores]] = {}
    for protocol, all_scores in by_protocol.items():
        for scores in all_scores:
            if scores.alignment == "disparity_median" and scores.scaling != "none":
                continue  # scaled by medians already
            rows.setdefault((scores.subject, scores.scaling), {})[protocol] = scores
    if not rows:
        return
    table = _table(what, [h if alone else f"{name}\n{h}" for name in by_protocol for h in shown.values()])
    for (subject, scaling), found in rows.items():
        figures = [
            figure
            for name in by_protocol
            for figure in (_figures(found[name].mean, shown) if name in found else [NOTHING] * len(shown))
        ]
        table.add_row(subject if scaling == "none" else f"  {SCALED[scaling]}", *figures)
    console.print(table, "")


def _print_published(console: Console, evaluation: Evaluation) -> None:
    """What papers report on the same data, where it is known."""
    from stages.evaluate.published import published

    rows = published(evaluation.dataset, evaluation.dataset_version, evaluation.split, evaluation.protocol.name)
    if not rows:
        return
    table = _table(
        "published, not measured", [_HEADINGS[metric] for metric in ("abs_rel", "sq_rel", "rmse", "delta_1")]
    )
    for row in rows:
        by = f"by {row.protocol}" if row.protocol else "protocol not stated"
        figures = (row.abs_rel, row.sq_rel, row.rmse, row.delta_1)
        table.add_row(f"{row.method}, {by}", *(f"{figure:.3f}" for figure in figures))
    console.print(table, "")


def _print_parts(console: Console, heading: str, parts: Sequence[PartScores]) -> None:
    if not parts:
        return
    table = _table(heading, _HEADINGS.values())
    for part in parts:
        how_many = f", {counted(part.rigs, 'rig')}" if part.kind == "condition" else ""
        table.add_row(f"{part.part}{how_many}", *_figures(part, _HEADINGS))
    console.print(table, "")


def _print_cross_view(console: Console, all_scores: Sequence[CrossViewScores]) -> None:
    """Without scaling: medians per rig change what cameras agree on little, those per image bring truth into it."""
    shown = [s for s in all_scores if s.scaling == "none" and s.alignment != "disparity_median"]
    if not shown:
        return
    table = _table("where views overlap", ["truth", "AbsRel", "RMSE", "δ1", "apart", "apart, m"])
    for scores in shown:
        overlap = _figures(scores.overlap_mean, ("abs_rel", "rmse", "delta_1"))
        table.add_row(scores.subject, scores.truth, *overlap, *_figures(scores.consistency_mean, ("rel", "rmse")))
    console.print(table, "")


NOTHING = "–"
SIDE_BY_SIDE, ROOM = ("abs_rel", "delta_1", "rmse"), 6
"""Metrics in the order in which they are shown beside each other, and columns of them that 80 characters hold."""
_PARTS = ("depth", "place", "condition")
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
        width = max(*map(len, heading.split("\n")), len("0.000"))
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    return table


def _figures(score: Score | PartScores, metrics: Iterable[str]) -> list[str]:
    values = [score.metrics[metric] for metric in metrics]
    return [NOTHING if value is None else f"{value:.3f}" for value in values]
