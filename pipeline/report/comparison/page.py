"""The page: one file that needs nothing from outside, readable on light and on dark screens, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cache_schema import Cache
from cache_schema.durable import write_atomic
from pipeline.report.comparison.charts import bars, curves
from pipeline.report.curves import read_curve, smoothed
from pipeline.report.panel import SCALES, Panel, panel
from pipeline.report.render import render, trusted
from pipeline.report.seen import see
from pipeline.report.tables import Cell, Line, Table
from pipeline.reproduce.plan import Comparison
from pipeline.reproduce.reference import Check
from pipeline.reproduce.result import ComparisonResult
from pipeline.reproduce.table import provenance
from pipeline.reproduce.variants import METHOD, compared
from pipeline.study.result import IMPROVEMENTS, Row
from pipeline.study.table import (
    ABOUT_CROSS_VIEW,
    CROSS_VIEW,
    HEADINGS,
    TRUTHS,
    Cells,
    about_improvements,
    improvement_text,
    main_cells,
    minutes,
    of_figure,
    percent_text,
)
from stages.device import choose_device
from stages.evaluate.metrics import METRICS
from stages.evaluate.subjects import student_subject, teacher_subject
from stages.train.run_folder import TENSORBOARD
from stages.train.student import load_student

LIDAR_LOSS = "lidar"
"""The curve that every variant has."""


def write_report(file: Path, comparison: Comparison, result: ComparisonResult, checks: Sequence[Check] | None) -> None:
    """Draw everything and write the page."""
    drawn = {
        variant: [
            smoothed(read_curve(comparison.run(variant, seed) / TENSORBOARD, LIDAR_LOSS)) for seed in comparison.seeds
        ]
        for variant in compared(comparison.config)
    }
    write_atomic(file, page(result, bars(result), curves(drawn, result.baseline), panels(comparison, result), checks))


def panels(comparison: Comparison, result: ComparisonResult) -> list[Panel]:
    """The rigs that the settings ask for, with the students of the first seed."""
    config = comparison.config
    cache, device = Cache(config.cache.cache), choose_device(config.cache.device)
    students = [
        replace(student_subject(load_student(comparison.run(name, comparison.seeds[0]) / "student", device)), name=name)
        for name in compared(config)
    ]
    teacher = config.cache.teacher.called
    subjects = [teacher_subject(teacher, cache.targets(config.split, teacher)), *students]
    rigs = len(cache.split(config.split))
    seen = [see(cache, config.split, rig, subjects, result.protocol) for rig in config.pictured if rig < rigs]
    return [panel(rig, truths=[rig.truths[-1].name]) for rig in seen]


def page(
    result: ComparisonResult,
    bar_chart: str,
    curve_chart: str,
    pictures: Sequence[Panel],
    checks: Sequence[Check] | None,
) -> str:
    """The page's HTML, from charts as SVG elements and pictures as data URLs."""
    about = result.model_dump_json(indent=1, include={"code_version", "settings", "machine", "data", "seeds"})
    return render(
        "comparison.html",
        title=f"{result.data.title}: teacher to student, compared",
        provenance=provenance(result),
        tiles=_tiles(result),
        main=_table(result.rows, main_cells(result)),  # the changes are drawn below
        legend=[(row.name, row.says) for row in result.rows],
        baseline=result.baseline,
        about_improvements=about_improvements(result),
        bars=trusted(bar_chart),
        curves=trusted(curve_chart),
        panels=pictures,
        scales=SCALES,
        tables=_more_tables(result),
        latency=result.latency,
        wall_time=minutes(result.wall_s),
        times=[(name, minutes(spent)) for name, spent in result.seconds.items()],
        checks=checks,
        settings=about,
    )


def _tiles(result: ComparisonResult) -> list[tuple[str, str]]:
    method = result.row(METHOD)
    assert method is not None
    latency, against = result.latency, f"AbsRel of {METHOD} against {result.baseline}, less is better,"
    times = f"{1000 * latency.student.median_s:.0f} ms a rig, the teacher {1000 * latency.teacher.median_s:.0f} ms"
    factor, _, than = latency.in_words.partition(" times ")
    return [
        (percent_text(method.change.get("lidar.abs_rel")), f"{against} at LiDAR points"),
        (percent_text(method.change.get("dense.abs_rel")), f"{against} at dense depth"),
        (
            improvement_text(result.improvement(method, IMPROVEMENTS["lidar"])),
            f"mean improvement of {METHOD} over five metrics, at LiDAR points, and its 95 % interval",
        ),
        (f"{factor} ×", f"{than} than the teacher: {times}"),
    ]


def _more_tables(result: ComparisonResult) -> list[tuple[str, Table, str]]:
    """Their names, and what is to be said of them."""
    tables = []
    for truth, name in TRUTHS.items():
        if result.knows(f"{truth}.abs_rel"):
            cells: Cells = [(HEADINGS[metric], of_figure(f"{truth}.{metric}")) for metric in METRICS]
            tables.append((f"All metrics at {name}", _table(result.rows, cells), ""))
    cross: Cells = [(heading, of_figure(name)) for name, heading in CROSS_VIEW.items() if result.knows(name)]
    if cross:
        tables.append(("Across views", _table(result.rows, cross), ABOUT_CROSS_VIEW))
    return tables


def _table(rows: Sequence[Row], cells: Cells) -> Table:
    lines = [
        Line(row.name, tuple(_cell(text(row)) for _, text in cells), "method" if row.name == METHOD else row.kind)
        for row in rows
    ]
    return Table("", tuple(heading for heading, _ in cells), tuple(lines))


def _cell(text: str) -> Cell:
    """A figure, with its spread or interval in small letters behind it and behind its unit."""
    mean, plus_minus, spread = text.partition(" ± ")
    value, bracket, interval = text.partition(" [")
    if bracket:
        low_high, _, unit = interval.partition("]")
        return Cell(value + unit, f"[{low_high}]")
    if not plus_minus:
        return Cell(text)
    number, space, unit = spread.partition(" ")
    return Cell(mean + space + unit, f"± {number}")
