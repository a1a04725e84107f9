"""`table.md`: a study as a Markdown page that says what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline.study.figures import Figure
from pipeline.study.paired import AVERAGED, Estimate
from pipeline.study.result import IMPROVEMENTS, Pair, Row, StudyResult
from stages.evaluate.metrics import METRICS
from stages.evaluate.protocol import TruthName
from stages.wording import counted

HEADINGS = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel (m)",
    "rmse": "RMSE (m)",
    "rmse_log": "RMSElog",
    "silog": "SILog",
    "delta_1": "δ1",
    "delta_2": "δ2",
    "delta_3": "δ3",
}
TRUTHS: dict[TruthName, str] = {"lidar": "LiDAR points", "dense": "dense depth"}
NOTHING = "–"

MAIN = {
    "lidar.abs_rel": "AbsRel",
    "lidar.rmse": "RMSE (m)",
    "lidar.delta_1": "δ1",
    "dense.abs_rel": "dense AbsRel",
    "dense.rmse": "dense RMSE (m)",
    "dense.delta_1": "dense δ1",
}
"""Figures of the first table."""

IMPROVED = {"lidar": "mean improvement", "dense": "dense mean improvement"}

CROSS_VIEW = {
    "lidar.overlap.abs_rel": "AbsRel, LiDAR in the overlap",
    "dense.overlap.abs_rel": "AbsRel, dense in the overlap",
    "lidar.consistency.rel": "disagreement, LiDAR",
    "dense.consistency.rel": "disagreement, dense",
}

ABOUT_CROSS_VIEW = (
    "Overlap: points of an image that lie in a neighbour's too. Disagreement: relative difference of the distances "
    "from the rig that two cameras predict for one place."
)

Cells = Sequence[tuple[str, Callable[[Row], str]]]
"""Columns: heading, and what stands there."""


def markdown(result: StudyResult) -> str:
    """The page of a study."""
    title = f"# {result.data.title}: {counted(len(result.seeds), 'seed')}"
    rigs: Cells = [
        ("rigs", lambda row: NOTHING if row.train_rigs is None else str(row.train_rigs)),
        ("without LiDAR", lambda row: str(row.unlabelled_rigs) if row.unlabelled_rigs else NOTHING),
        ("steps", lambda row: NOTHING if row.steps is None else str(row.steps)),
        ("seeds", lambda row: str(len(row.seeds)) if row.seeds else NOTHING),
    ]
    return "\n".join(
        [
            title,
            "",
            *study_provenance(result),
            "",
            *table(result.rows, [*main_cells(result), *rigs]),
            "",
            about_improvements(result),
            "",
            *legend(result),
            "",
            *paired(result),
            *all_metrics(result),
            *cross_view(result),
            *_failed(result),
            *wall_time(result),
        ]
    )


def study_provenance(result: StudyResult) -> list[str]:
    """What the figures were made from, in sentences."""
    data = result.data
    return provenance(result, f"{data.dataset} {data.version}: scored on {data.rigs} rigs of {data.views} views")


def provenance(result: StudyResult, on: str) -> list[str]:
    """What the figures were made from, in sentences; `on` says which data."""
    machine, low_high = result.machine, result.protocol.range_m
    spread = "mean ± standard deviation over seeds" if len(result.seeds) > 1 else "one seed, so no spread"
    return [
        *([result.note] if result.note else []),
        f"fsmde {result.code_version} on {on}. Protocol {result.protocol.name}, "
        f"{low_high[0]:g} < depth < {low_high[1]:g} m, no scaling; {spread}.",
        f"{machine.device}, {machine.cores} cores, {counted(machine.threads, 'thread')}, torch {machine.torch}, "
        f"Python {machine.python}.",
    ]


def figure_text(figure: Figure | None, digits: int = 3) -> str:
    """Mean ± spread, or – where there is nothing."""
    if figure is None or figure.mean is None:
        return NOTHING
    spread = "" if figure.spread is None else f" ± {figure.spread:.{digits}f}"
    return f"{figure.mean:.{digits}f}{spread}"


def percent_text(figure: Figure | None) -> str:
    """A relative change in percent, signed."""
    if figure is None or figure.mean is None:
        return NOTHING
    spread = "" if figure.spread is None else f" ± {100 * figure.spread:.1f}"
    return f"{100 * figure.mean:+.1f}{spread} %"


def interval_text(estimate: Estimate | None, scale: float = 1, digits: int = 3, unit: str = "") -> str:
    """A signed value and its 95 % interval: `+1.3 [+0.4, +2.2] %`."""
    if estimate is None or estimate.mean is None:
        return NOTHING
    shown = ""
    if estimate.low is not None and estimate.high is not None:
        shown = f" [{scale * estimate.low:+.{digits}f}, {scale * estimate.high:+.{digits}f}]"
    return f"{scale * estimate.mean:+.{digits}f}{shown}{unit}"


def improvement_text(estimate: Estimate | None) -> str:
    """A relative improvement in percent and its interval."""
    return interval_text(estimate, 100, 1, " %")


def main_cells(result: StudyResult) -> Cells:
    """Columns of the first table: the figures that are known, and the mean improvement."""
    known = {name: heading for name, heading in MAIN.items() if result.knows(name)}
    return [
        *((heading, of_figure(name)) for name, heading in known.items()),
        *(
            (f"{IMPROVED[truth]}, 95 %", lambda row, name=name: improvement_text(result.improvement(row, name)))
            for truth, name in IMPROVEMENTS.items()
            if result.knows(f"{truth}.abs_rel")
        ),
    ]


def of_change(name: str) -> Callable[[Row], str]:
    """The column of a relative change against the baseline."""
    return lambda row: percent_text(row.change.get(name))


def of_figure(name: str) -> Callable[[Row], str]:
    """The column of a figure."""
    return lambda row: figure_text(row.figures.get(name))


def about_improvements(result: StudyResult) -> str:
    """What the improvements are."""
    limits = f" {result.data.limits}" if result.data.limits else ""
    return (
        "Mean improvement: the mean, over AbsRel, SqRel, RMSE, RMSElog and 1 − δ1, of the relative change for the "
        f"better against {result.baseline} on the same rigs, seed by seed, with its 95 % interval over scenes and rigs."
        f"{limits} Teachers have no scale: each image's disparity is fitted to its LiDAR points."
    )


def legend(result: StudyResult) -> list[str]:
    """What the rows are: a trial's sentence once for all points of the grid."""
    says = {row.variant or row.name: row.says for row in result.rows}
    return [f"- `{name}`: {sentence}" for name, sentence in says.items()]


def paired(result: StudyResult) -> list[str]:
    """Every pair: how much better the first is than the second, and what it is more, by figure."""
    lines = []
    for truth, name in TRUTHS.items():
        figures = {f"{truth}.{metric}": HEADINGS[metric] for metric in AVERAGED}
        figures[f"{truth}.consistency.rel"] = "disagreement"
        pairs = [pair for pair in result.pairs if IMPROVEMENTS[truth] in pair.improvement]
        if pairs:
            lines += [
                f"## Paired, at {name}",
                "",
                "Relative improvement, %, and its 95 % interval; of δ1, that of 1 − δ1:",
            ]
            better = {IMPROVEMENTS[truth]: "**mean**", **figures}
            lines += ["", *_pairs(pairs, better, lambda pair, key: interval_text(pair.improvement.get(key), 100, 1))]
            lines += ["", "Difference and its 95 % interval:"]
            lines += ["", *_pairs(pairs, figures, lambda pair, key: interval_text(pair.difference.get(key)))]
            lines += [""]
    return lines


def _pairs(pairs: Sequence[Pair], headings: Mapping[str, str], text: Callable[[Pair, str], str]) -> list[str]:
    lines = ["| | against | seeds | " + " | ".join(headings.values()) + " |", "|---" * (len(headings) + 3) + "|"]
    for pair in pairs:
        cells = [pair.row, pair.against, str(len(pair.seeds)), *(text(pair, key) for key in headings)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def all_metrics(result: StudyResult) -> list[str]:
    """A table of all metrics for each truth."""
    lines = []
    for truth, name in TRUTHS.items():
        if result.knows(f"{truth}.abs_rel"):
            cells: Cells = [(HEADINGS[metric], of_figure(f"{truth}.{metric}")) for metric in METRICS]
            lines += [f"## At {name}", "", *table(result.rows, cells), ""]
    return lines


def cross_view(result: StudyResult) -> list[str]:
    """What neighbouring cameras agree on."""
    cells: Cells = [(heading, of_figure(name)) for name, heading in CROSS_VIEW.items() if result.knows(name)]
    return ["## Across views", "", *table(result.rows, cells), "", ABOUT_CROSS_VIEW, ""] if cells else []


def wall_time(result: StudyResult) -> list[str]:
    """How long every part took."""
    rows = [f"| {name} | {minutes(seconds)} |" for name, seconds in result.seconds.items()]
    total = minutes(result.wall_s)
    return [
        "## Wall time",
        "",
        "| part | minutes:seconds |",
        "|---|---|",
        *rows,
        f"| all, some at the same time | {total} |",
        "",
    ]


def _failed(result: StudyResult) -> list[str]:
    if not result.failed:
        return []
    return ["## Failed", "", *(f"- {part}: {reason}" for part, reason in result.failed.items()), ""]


def minutes(seconds: float) -> str:
    """Seconds as minutes:seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def table(rows: Sequence[Row], cells: Cells) -> list[str]:
    """Rows of a Markdown table."""
    lines = ["| variant | " + " | ".join(heading for heading, _ in cells) + " |", "|---" * (len(cells) + 1) + "|"]
    return lines + [f"| {row.name} | " + " | ".join(text(row) for _, text in cells) + " |" for row in rows]
