"""Charts as SVG, drawn in the text colour of the page they stand on."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator, ScalarFormatter

from pipeline.report.colours import INK, QUIET, colour
from pipeline.report.curves import Curve
from pipeline.reproduce.result import ComparisonResult
from pipeline.study.figures import Figure
from pipeline.study.result import Row

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.size": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}
BAR = 0.62
TRUTHS = {"lidar": "at LiDAR points", "dense": "at dense depth"}


def bars(result: ComparisonResult) -> str:
    """AbsRel of every variant with its spread, and below it the change against the baseline, per truth."""
    truths = [truth for truth in TRUTHS if result.knows(f"{truth}.abs_rel")]
    variants = [row for row in result.rows if row.kind == "variant"]
    teachers = [row for row in result.rows if row.kind == "teacher"]
    with rc_context(STYLE | {"svg.hashsalt": "bars"}):
        canvas = Canvas(figsize=(5.4 * len(truths), 5.6), layout="constrained")
        grid = canvas.subplots(2, len(truths), squeeze=False, gridspec_kw={"hspace": 0.12})
        for (above, below), truth in zip(grid.T, truths, strict=True):
            _absolute(above, variants, teachers, truth)
            _changes(below, variants, truth, result.baseline)
        return _svg(canvas)


def curves(drawn: Mapping[str, Sequence[Curve]], baseline: str) -> str:
    """The LiDAR loss of each variant over the steps, one panel each, before the baseline's."""
    columns = 4
    rows = -(-len(drawn) // columns)
    with rc_context(STYLE | {"svg.hashsalt": "curves"}):
        canvas = Canvas(figsize=(10.8, 2.2 * rows), layout="constrained")
        panels = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for panel, (variant, runs) in zip(panels, drawn.items(), strict=False):
            for run in drawn.get(baseline, ()):
                panel.plot(run.steps, run.values, color=QUIET, linewidth=0.9, alpha=0.7)
            for run in runs:
                panel.plot(run.steps, run.values, color=colour(variant), linewidth=1.3)
            panel.set_title(variant)
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(ScalarFormatter())
            panel.yaxis.set_minor_formatter(ScalarFormatter())
            panel.yaxis.set_minor_locator(LogLocator(subs=(2, 4, 6)))
            panel.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6, which="both")
            panel.tick_params(which="both", length=2.5)
        for panel in panels[len(drawn) :]:
            panel.set_visible(False)
        canvas.supxlabel("step", color=INK, fontsize=9.5)
        canvas.supylabel("L_gt on LiDAR points", color=INK, fontsize=9.5)
        return _svg(canvas)


def _absolute(axes: Axes, variants: Sequence[Row], teachers: Sequence[Row], truth: str) -> None:
    for place, row in enumerate(variants):
        figure = row.figures.get(f"{truth}.abs_rel")
        if figure is None or figure.mean is None:
            continue
        axes.barh(place, figure.mean, BAR, color=colour(row.name), alpha=0.85)
        _spread(axes, place, figure)
        end = max(value for value in figure.values if value is not None)
        end = max(end, figure.mean + (figure.spread or 0))
        axes.annotate(f"{figure.mean:.3f}", (end, place), (7, 0), textcoords="offset points", va="center", fontsize=9)
    means = [row.figures[f"{truth}.abs_rel"].mean or 0 for row in (*variants, *teachers)]
    axes.set_xlim(0, 1.22 * max(means))
    for row in teachers:
        figure = row.figures.get(f"{truth}.abs_rel")
        if figure is None or figure.mean is None:
            continue
        axes.axvline(figure.mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        side = "right" if figure.mean > 0.5 * axes.get_xlim()[1] else "left"
        label = f" {row.name}, aligned: {figure.mean:.3f} "
        axes.text(figure.mean, -0.78, label, fontsize=8.5, va="center", ha=side)
    _finish(axes, variants, f"AbsRel {TRUTHS[truth]}, less is better")


def _changes(axes: Axes, variants: Sequence[Row], truth: str, baseline: str) -> None:
    for place, row in enumerate(variants):
        figure = row.change.get(f"{truth}.abs_rel")
        if figure is None or figure.mean is None:
            continue
        percent = _percent(figure)
        axes.barh(place, percent.mean or 0, BAR, color=colour(row.name), alpha=0.85)
        _spread(axes, place, percent)
    axes.axvline(0, color=INK, linewidth=0.8)
    _finish(axes, variants, f"change of AbsRel against {baseline}, %")
    axes.margins(x=0.08)


def _spread(axes: Axes, place: int, figure: Figure) -> None:
    """A whisker of one standard deviation to either side, and a dot for every seed."""
    assert figure.mean is not None
    if figure.spread is not None:
        axes.errorbar(figure.mean, place, xerr=figure.spread, color=INK, linewidth=1.2, capsize=3)
    dots = [value for value in figure.values if value is not None]
    axes.scatter(dots, [place] * len(dots), s=11, color=INK, zorder=3, linewidths=0)


def _percent(figure: Figure) -> Figure:
    return Figure(
        values=tuple(None if value is None else 100 * value for value in figure.values),
        mean=None if figure.mean is None else 100 * figure.mean,
        spread=None if figure.spread is None else 100 * figure.spread,
    )


def _finish(axes: Axes, variants: Sequence[Row], title: str) -> None:
    axes.set_yticks(range(len(variants)), [row.name for row in variants])
    axes.set_ylim(len(variants) - 0.4, -1.1)
    axes.set_title(title)
    axes.grid(axis="x", color=QUIET, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _svg(canvas: Canvas) -> str:
    """The drawing as an element of a page: transparent, and inked with the page's own colour."""
    file = io.StringIO()
    canvas.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([^;\"]*)'[^;\"]*'", r"font: \1inherit", svg)
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)  # as wide as the page
