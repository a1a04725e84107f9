"""A figure against an axis of the grid: a line for each variant, with error bars; as SVG and PNG."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter, NullLocator, PercentFormatter

from pipeline.report.colours import INK, QUIET, variant_colours
from pipeline.report.comparison.charts import STYLE
from pipeline.study.config import Plot
from pipeline.study.figures import Figure
from pipeline.study.paired import MEAN, Estimate
from pipeline.study.result import Row, StudyResult
from pipeline.study.table import HEADINGS, TRUTHS
from pipeline.study.trial import Label

IMPROVEMENT = "improvement:"
APART = 0.014
"""Of the width, between the marks of two lines at one point, so that their bars can be told apart."""
SIZE_IN = (6.4, 4.2)
PNG_DPI = 160
STYLES = ("-", "--", ":", "-.")
"""Of the lines of one variant, at the points of the other axes."""


@dataclass(frozen=True)
class Line:
    """One line: where, how much, and the ends of the error bars."""

    name: str
    colour: str
    style: str
    x: tuple[Label, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def draw(plot: Plot, result: StudyResult, folder: Path) -> list[Path]:
    """Write the plot into a folder; returns its files, none where no row has the figure."""
    lines = lines_of(plot, result)
    if not lines:
        return []
    with rc_context(STYLE | {"svg.hashsalt": plot.y, "font.size": 10.5}):
        canvas = Canvas(figsize=SIZE_IN, layout="constrained")
        _draw_lines(canvas, plot, result, lines)
        files = [folder / f"{_file_name(plot)}{suffix}" for suffix in (".svg", ".png")]
        canvas.savefig(files[0], facecolor="white", metadata={"Date": None, "Creator": None})
        canvas.savefig(files[1], facecolor="white", dpi=PNG_DPI)
    return files


def lines_of(plot: Plot, result: StudyResult) -> list[Line]:
    """A line for each variant, and for each point of the other axes."""
    groups: dict[str, list[tuple[Row, Figure]]] = {}
    for row in result.rows:
        figure = _figure(plot, result, row)
        if plot.x in row.place and figure is not None and figure.mean is not None and _drawn(plot, row):
            others = [f"{axis.rpartition('.')[2]} {label}" for axis, label in row.place.items() if axis != plot.x]
            groups.setdefault(", ".join([row.variant, *others]), []).append((row, figure))
    colours = variant_colours(dict.fromkeys(row.variant for row in result.rows if row.variant), result.baseline)
    seen: Counter[str] = Counter()
    lines = []
    for name, points in groups.items():
        variant = points[0][0].variant
        lines.append(_line(name, colours[variant], STYLES[seen[variant] % len(STYLES)], plot.x, points))
        seen[variant] += 1
    return lines


def _drawn(plot: Plot, row: Row) -> bool:
    return plot.variants is None or row.variant in plot.variants


def _figure(plot: Plot, result: StudyResult, row: Row) -> Figure | None:
    if plot.y.startswith(IMPROVEMENT):
        return result.improvement(row, plot.y.removeprefix(IMPROVEMENT))
    return row.figures.get(plot.y)


def _line(name: str, colour: str, style: str, axis: str, points: Sequence[tuple[Row, Figure]]) -> Line:
    if all(isinstance(row.place[axis], int | float) for row, _ in points):
        points = sorted(points, key=lambda point: float(point[0].place[axis]))
    ends = [_ends(figure) for _, figure in points]
    return Line(
        name=name,
        colour=colour,
        style=style,
        x=tuple(row.place[axis] for row, _ in points),
        y=tuple(figure.mean or 0.0 for _, figure in points),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )


def _ends(figure: Figure) -> tuple[float, float]:
    """Of an error bar: the interval of a comparison, else a standard deviation over seeds to either side."""
    assert figure.mean is not None
    if isinstance(figure, Estimate) and figure.low is not None and figure.high is not None:
        return figure.low, figure.high
    spread = figure.spread or 0.0
    return figure.mean - spread, figure.mean + spread


def _draw_lines(canvas: Canvas, plot: Plot, result: StudyResult, lines: Sequence[Line]) -> None:
    axes = canvas.subplots()
    labels = list(dict.fromkeys(label for line in lines for label in line.x))
    numbers = all(isinstance(label, int | float) for label in labels)
    place = {label: float(label) if numbers else float(number) for number, label in enumerate(labels)}
    log = plot.log and numbers and min(place.values()) > 0
    if log:
        axes.set_xscale("log")
    for number, line in enumerate(lines):
        bars = (
            [y - low for y, low in zip(line.y, line.low, strict=True)],
            [high - y for y, high in zip(line.y, line.high, strict=True)],
        )
        apart = APART * (number - (len(lines) - 1) / 2)
        axes.errorbar(
            _moved([place[label] for label in line.x], list(place.values()), apart, log=log), line.y, yerr=bars,
            color=line.colour, linestyle=line.style, label=line.name, marker="o", markersize=5, linewidth=1.6,
            elinewidth=1.2, capsize=2.5,
        )  # fmt: skip
    axes.set_xticks(list(place.values()), [str(label) for label in labels])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    _finish(axes, plot, result)


def _moved(x: list[float], all_x: list[float], share: float, *, log: bool) -> list[float]:
    """Places moved by a share of the whole width."""
    if log:
        return [place * (max(all_x) / min(all_x)) ** share for place in x]
    return [place + share * (max(all_x) - min(all_x)) for place in x]


def _finish(axes: Axes, plot: Plot, result: StudyResult) -> None:
    if plot.y.startswith(IMPROVEMENT):
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            result.baseline, (1, 0), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="left", va="center", fontsize=9, color=QUIET,
        )  # fmt: skip
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    bars = "95 % interval over scenes and rigs" if plot.y.startswith(IMPROVEMENT) else "standard deviation over seeds"
    axes.margins(x=0.06, y=0.1)
    axes.set_xlabel(plot.x_label or plot.x.rpartition(".")[2])
    axes.set_ylabel(plot.y_label or _in_words(plot.y))
    seeds = max(len(row.seeds) for row in result.rows)
    axes.set_title(f"{seeds} seeds; bars: {bars}", fontsize=9, fontweight="normal", color=QUIET)
    axes.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=2.5)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9.5, handlelength=1.6)


def _in_words(y: str) -> str:
    """What stands beside the y axis."""
    figure = y.removeprefix(IMPROVEMENT)
    truth, _, metric = figure.partition(".")
    at = f"at {TRUTHS[truth]}" if truth in TRUTHS else truth
    called = {MEAN: "mean", **HEADINGS, "consistency.rel": "disagreement of neighbours"}.get(metric, metric)
    if y.startswith(IMPROVEMENT):
        return f"{called} improvement {at}"
    return f"{called} {at}"


def _file_name(plot: Plot) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{plot.y}-by-{plot.x.rpartition('.')[2]}")
