"""`table.md`: the comparison as a Markdown page that says what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.reproduce.reference import Check, describe
from pipeline.reproduce.result import ComparisonResult, Row
from pipeline.study.figures import Figure
from stages.evaluate.metrics import METRICS
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
TRUTHS = {"lidar": "LiDAR points", "dense": "dense depth"}
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

CROSS_VIEW = {
    "lidar.overlap.abs_rel": "AbsRel, LiDAR in the overlap",
    "dense.overlap.abs_rel": "AbsRel, dense in the overlap",
    "lidar.consistency.rel": "disagreement, LiDAR",
    "dense.consistency.rel": "disagreement, dense",
}


def markdown(result: ComparisonResult, checks: Sequence[Check] | None) -> str:
    """The page; `checks` against a reference, if there was one."""
    return "\n".join(
        [
            f"# {result.data.dataset} {result.data.split}: "
            f"{counted(len(result.seeds), 'seed')} of {counted(result.steps, 'step')}",
            "",
            *provenance(result),
            "",
            *_main(result),
            "",
            *_metrics(result),
            *_cross_view(result),
            *_speed(result),
            *_wall_time(result),
            *_reference(checks),
        ]
    )


def provenance(result: ComparisonResult) -> list[str]:
    """What the figures were made from, in sentences."""
    data, machine, low_high = result.data, result.machine, result.protocol.range_m
    spread = "mean ± standard deviation over seeds" if len(result.seeds) > 1 else "one seed, so no spread"
    further = f" and {data.unlabelled_rigs} without LiDAR, for those with a teacher" if data.unlabelled_rigs else ""
    return [
        *([result.note] if result.note else []),
        f"fsmde {result.code_version} on {data.dataset} {data.version}: trained on {data.train_rigs} rigs of "
        f"{data.views} views{further}, scored on {data.rigs}. Protocol {result.protocol.name}, "
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


def _main(result: ComparisonResult) -> list[str]:
    changes = {
        "lidar.abs_rel": f"AbsRel against {result.baseline}",
        "dense.abs_rel": f"dense AbsRel against {result.baseline}",
        "lidar.gain": "mean gain over all metrics",
    }
    cells = [
        *((heading, lambda row, name=name: figure_text(row.figures.get(name))) for name, heading in MAIN.items()),
        *((heading, lambda row, name=name: percent_text(row.change.get(name))) for name, heading in changes.items()),
    ]
    gain = (
        f"The gain is the mean, over the eight metrics, of the relative change for the better against {result.baseline}"
    )
    return [
        *_table(result.rows, cells),
        "",
        f"{gain}, seed by seed. Teachers have no scale: each image's disparity is fitted to its LiDAR points.",
        "",
        *(f"- `{row.name}`: {row.says}" for row in result.rows),
    ]


def _metrics(result: ComparisonResult) -> list[str]:
    lines = []
    for truth, name in TRUTHS.items():
        if not result.knows(f"{truth}.abs_rel"):
            continue
        cells = [
            (HEADINGS[metric], lambda row, key=f"{truth}.{metric}": figure_text(row.figures.get(key)))
            for metric in METRICS
        ]
        lines += [f"## At {name}", "", *_table(result.rows, cells), ""]
    return lines


def _cross_view(result: ComparisonResult) -> list[str]:
    known = {name: heading for name, heading in CROSS_VIEW.items() if result.knows(name)}
    if not known:
        return []
    cells = [(heading, lambda row, name=name: figure_text(row.figures.get(name))) for name, heading in known.items()]
    explanation = (
        "Overlap: points of an image that lie in a neighbour's too. Disagreement: relative difference of the distances "
        "from the rig that two cameras predict for one place."
    )
    return ["## Across views", "", *_table(result.rows, cells), "", explanation, ""]


def _speed(result: ComparisonResult) -> list[str]:
    latency = result.latency
    return ["## Speed", "", f"{latency.measured}: the student is **{latency.in_words}**.", ""]


def _wall_time(result: ComparisonResult) -> list[str]:
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


def minutes(seconds: float) -> str:
    """Seconds as minutes:seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _reference(checks: Sequence[Check] | None) -> list[str]:
    if checks is None:
        return []
    return ["## Against the reference", "", *(f"- {describe(check)}" for check in checks), ""]


def _table(rows: Sequence[Row], cells: Sequence[tuple[str, Callable[[Row], str]]]) -> list[str]:
    lines = ["| variant | " + " | ".join(heading for heading, _ in cells) + " |", "|---" * (len(cells) + 1) + "|"]
    return lines + [f"| {row.name} | " + " | ".join(text(row) for _, text in cells) + " |" for row in rows]
