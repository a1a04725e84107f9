"""The page: one file that needs nothing from outside, readable on light and on dark screens, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from cache_schema.durable import write_atomic
from pipeline.report.charts import bars, curves
from pipeline.report.curves import read_curve, smoothed
from pipeline.report.pictures import DEPTH_COLOURS, DEPTH_M, ERROR, ERROR_COLOURS, Panel, Strip, colour_bar, panels
from pipeline.report.style import CSS
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
    NOTHING,
    TRUTHS,
    Cells,
    about_improvements,
    improvement_text,
    main_cells,
    minutes,
    of_figure,
    percent_text,
)
from stages.evaluate.metrics import METRICS
from stages.train.run_folder import TENSORBOARD

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
    write_atomic(file, page(result, bars(result), curves(drawn, result.baseline), panels(comparison), checks))


def page(
    result: ComparisonResult,
    bar_chart: str,
    curve_chart: str,
    pictures: Sequence[Panel],
    checks: Sequence[Check] | None,
) -> str:
    """The page's HTML, from charts as SVG elements and pictures as data URLs."""
    title = f"{result.data.dataset} {result.data.split}: teacher to student, compared"
    sections = [
        _header(title, result),
        _tiles(result),
        _section("Comparison", _main_table(result) + _legend(result)),
        _section(
            "AbsRel by variant",
            _figure(
                bar_chart,
                "Bars: mean over seeds; whiskers: one standard deviation;"
                " dots: single seeds. The dashed line is the teacher itself, fitted to the LiDAR of each image.",
            ),
        ),
        *(_panel(number, panel) for number, panel in enumerate(pictures)),
        _section(
            "Training",
            _figure(
                curve_chart,
                f"The loss on LiDAR points that every variant has, smoothed; one line"
                f" per seed. Grey: {escape(result.baseline)}.",
            ),
        ),
        *_more_tables(result),
        _section("Time", _times(result)),
        "" if checks is None else _section("Against the reference", _checks(checks)),
        f"<footer>{_settings(result)}</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body><main>"
        + "\n".join(section for section in sections if section)
        + "</main></body></html>\n"
    )


def _header(title: str, result: ComparisonResult) -> str:
    says = "".join(f"<p>{escape(line)}</p>" for line in provenance(result))
    return f"<header><p class=kicker>fsmde reproduce</p><h1>{escape(title)}</h1>{says}</header>"


def _tiles(result: ComparisonResult) -> str:
    method = result.row(METHOD)
    assert method is not None
    latency, against = result.latency, f"AbsRel of {METHOD} against {result.baseline}, less is better,"
    times = f"{1000 * latency.student.median_s:.0f} ms a rig, the teacher {1000 * latency.teacher.median_s:.0f} ms"
    factor, _, than = latency.in_words.partition(" times ")
    shown = [
        (percent_text(method.change.get("lidar.abs_rel")), f"{against} at LiDAR points"),
        (percent_text(method.change.get("dense.abs_rel")), f"{against} at dense depth"),
        (
            improvement_text(result.improvement(method, IMPROVEMENTS["lidar"])),
            f"mean improvement of {METHOD} over five metrics, at LiDAR points, and its 95 % interval",
        ),
        (f"{factor} ×", f"{than} than the teacher: {times}"),
    ]
    tiles = "".join(f"<div class=tile><b>{escape(value)}</b><span>{escape(says)}</span></div>" for value, says in shown)
    return f"<div class=tiles>{tiles}</div>"


def _main_table(result: ComparisonResult) -> str:
    return _table(result.rows, main_cells(result))  # the changes are drawn below


def _legend(result: ComparisonResult) -> str:
    items = "".join(f"<dt>{escape(row.name)}</dt><dd>{escape(row.says)}</dd>" for row in result.rows)
    note = f"Changes are against <b>{escape(result.baseline)}</b>, seed by seed. {escape(about_improvements(result))}"
    return f"<dl class=legend>{items}</dl><p class=note>{note}</p>"


def _more_tables(result: ComparisonResult) -> list[str]:
    sections = []
    for truth, name in TRUTHS.items():
        if result.knows(f"{truth}.abs_rel"):
            cells: Cells = [(HEADINGS[metric], of_figure(f"{truth}.{metric}")) for metric in METRICS]
            sections.append(_section(f"All metrics at {name}", _table(result.rows, cells)))
    cross: Cells = [(heading, of_figure(name)) for name, heading in CROSS_VIEW.items() if result.knows(name)]
    if cross:
        note = f"<p class=note>{escape(ABOUT_CROSS_VIEW, quote=False)}</p>"
        sections.append(_section("Across views", _table(result.rows, cross) + note))
    return sections


def _table(rows: Sequence[Row], cells: Cells) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading, _ in cells)
    body = "".join(
        f"<tr class={row.kind}{' data-method' if row.name == METHOD else ''}><th>{escape(row.name)}</th>"
        + "".join(_cell(text(row)) for _, text in cells)
        + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(text: str) -> str:
    mean, plus_minus, spread = text.partition(" ± ")
    value, bracket, interval = text.partition(" [")
    if bracket:
        low_high, _, unit = interval.partition("]")
        return f"<td>{escape(value + unit)} <small>[{escape(low_high)}]</small></td>"
    if not plus_minus:
        return f"<td{' class=none' if text == NOTHING else ''}>{escape(text)}</td>"
    number, space, unit = spread.partition(" ")
    return f"<td>{escape(mean + space + unit)}<small> ± {escape(number)}</small></td>"


def _panel(number: int, panel: Panel) -> str:
    """Depth or error of all predictions, whichever is chosen above; the choice needs no script."""
    group = f"rig{number}"
    cameras = "".join(f"<span>{escape(camera)}</span>" for camera in panel.cameras)
    strips = "".join(_strip(strip) for strip in panel.strips)
    switch = (
        f"<input type=radio name={group} id={group}d checked><label for={group}d>depth</label>"
        f"<input type=radio name={group} id={group}e class=e><label for={group}e>error</label>"
    )
    near, far = DEPTH_M
    scales = (
        f'<div class="bar d"><span>{near:g} m</span><i style="background:{colour_bar(DEPTH_COLOURS)}"></i>'
        f"<span>{far:g} m</span></div>"
        f'<div class="bar e"><span>0</span><i style="background:{colour_bar(ERROR_COLOURS)}"></i>'
        f"<span>{100 * ERROR:.0f} % of {escape(panel.truth)}</span></div>"
    )
    return _section(
        f"A rig that was not trained on: {panel.title}",
        f"<div class=panel>{switch}{scales}<div class=strips><div class=names><b></b>{cameras}</div>"
        f'<div class=strip><b>image</b><img alt="" src="{panel.image}"></div>{strips}</div></div>',
    )


def _strip(strip: Strip) -> str:
    score = "" if strip.abs_rel is None else f"<small>AbsRel {strip.abs_rel:.3f}</small>"
    depth = f'<img class={"d" if strip.error else "t"} alt="depth" src="{strip.depth}">'
    error = "" if strip.error is None else f'<img class=e alt="error" src="{strip.error}">'
    return f"<div class=strip><b>{escape(strip.name)}{score}</b>{depth}{error}</div>"


def _times(result: ComparisonResult) -> str:
    latency = result.latency
    speed = f"{escape(latency.measured)}: the student is <b>{latency.in_words}</b>."
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{minutes(spent)}</td></tr>" for name, spent in result.seconds.items()
    )
    total = f"<tr class=teacher><th>all, some at the same time</th><td>{minutes(result.wall_s)}</td></tr>"
    parts = f"<details><summary>Wall time: {minutes(result.wall_s)} in all, by part</summary>"
    return f"<p>{speed}</p>{parts}<table class=small><tbody>{rows}{total}</tbody></table></details>"


def _checks(checks: Sequence[Check]) -> str:
    rows = "".join(
        f"<tr class={check.state}><th>{escape(check.row)}</th><td>{escape(check.figure)}</td>"
        f"<td>{NOTHING if check.found is None else f'{check.found:.4g}'}</td>"
        f"<td>{check.expected:.4g} ± {check.tolerance:.2g}</td><td>{check.state}</td></tr>"
        for check in checks
    )
    head = "<tr><th></th><th>figure</th><th>found</th><th>expected</th><th></th></tr>"
    return f"<div class=scroll><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>"


def _settings(result: ComparisonResult) -> str:
    data = escape(result.model_dump_json(indent=1, include={"code_version", "settings", "machine", "data", "seeds"}))
    return f"<details><summary>Settings and machine</summary><pre>{data}</pre></details>"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"
