"""`fsmde compare`: whether one student is better than another, by how much, and how surely."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.commands.tables import compact_table
from pipeline.errors import one_line_errors
from pipeline.terminal import terminal
from pipeline.version import code_version
from stages.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.study.two_runs import ComparedFigure, TwoRuns


def command(
    first: Annotated[Path, typer.Argument(help="Training run that is compared with.")],
    second: Annotated[Path, typer.Argument(help="Training run that may be better.")],
    split: Annotated[str, typer.Option(help="Split on which both were scored.")] = "val",
    protocol: Annotated[str, typer.Option(help="Protocol by which both were scored.")] = "native",
    cache: Annotated[
        str | None, typer.Option(help="Cache on which both were scored.  [default: the data that both have scores on]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
) -> None:
    """Compare the students of two scored runs, rig by rig, with 95 % intervals over scenes and rigs."""
    with one_line_errors():
        from cache_schema.durable import write_atomic
        from cache_schema.places import refuse_other_file
        from pipeline.study.two_runs import TwoRuns, compare_runs

        if out is not None:
            refuse_other_file(out, "--out", TwoRuns, "comparison")
        found = compare_runs(first, second, split, protocol, cache, code_version=code_version())
        console = terminal()
        print_comparison(console, found)
        if out is not None:
            write_atomic(out, found.model_dump_json(indent=2) + "\n")
            console.print(f"Written to {out}")


def print_comparison(console: Console, found: TwoRuns) -> None:
    """All metrics at each truth, then AbsRel in parts, and one sentence on top of it."""
    from pipeline.study.table import HEADINGS, TRUTHS, improvement_text
    from stages.evaluate.bootstrap import reach

    console.print(
        f"{found.dataset} {found.dataset_version} {found.split}, {counted(found.rigs, 'rig')} of "
        f"{counted(found.scenes, 'scene')}; protocol {found.protocol.name}\n"
        f"first   {found.first}\nsecond  {found.second}\n",
    )
    for truth, name in TRUTHS.items():
        figures = {heading: found.figures.get(f"{truth}.{metric}") for metric, heading in HEADINGS.items()}
        _print_table(console, f"at {name}", figures)
    parts = {
        figure.removesuffix(".abs_rel").replace("lidar.", ""): compared
        for figure, compared in found.figures.items()
        if figure.startswith("lidar.") and figure.endswith(".abs_rel") and figure != "lidar.abs_rel"
    }
    _print_table(console, "AbsRel at LiDAR, by part", parts)
    apart = {TRUTHS[truth]: found.figures.get(f"{truth}.consistency.rel") for truth in TRUTHS}
    _print_table(console, "two cameras apart", apart)
    better = [
        f"{improvement_text(found.mean_improvement[truth])} at {name}"
        for truth, name in TRUTHS.items()
        if truth in found.mean_improvement
    ]
    says = [
        f"The second is better by {' and '.join(better)}: mean over AbsRel, SqRel, RMSE, RMSElog and 1 − δ1 of the "
        "relative change for the better (of a δ, of what is missing to 1)"
    ]
    if any(estimate.low is not None for estimate in found.mean_improvement.values()):
        says[0] += ", and its 95 % interval"
        says.append(
            "Where an interval holds 0, other rigs might say the opposite; what training again would change is not in "
            "it"
        )
    console.print(" ".join([*(f"{each}." for each in says), reach(found.scenes, found.rigs)]).strip())


def _print_table(console: Console, heading: str, figures: Mapping[str, ComparedFigure | None]) -> None:
    from pipeline.study.table import NOTHING, interval_text

    table = compact_table(heading, "first", "second", "better by, %")
    for name, compared in figures.items():
        if compared is not None:
            values = [NOTHING if v is None else f"{v:.3f}" for v in (compared.first, compared.second)]
            table.add_row(name, *values, interval_text(compared.improvement, 100, 1))
    if table.row_count:
        console.print(table, "")
