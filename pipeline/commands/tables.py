"""Tables of comparisons on a console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pipeline.study.result import StudyResult


def print_rows(console: Console, result: StudyResult) -> None:
    """The figures that matter most, in 80 columns; the rest is in the files."""
    from pipeline.study.result import IMPROVEMENTS
    from pipeline.study.table import figure_text, interval_text

    table = compact_table("variant", "AbsRel", "better, %", "dense better, %")
    for row in result.rows:
        better = [result.improvement(row, figure) for figure in IMPROVEMENTS.values()]
        table.add_row(
            row.name,
            figure_text(row.figures.get("lidar.abs_rel")),
            *(interval_text(estimate, 100, 1) for estimate in better),
        )
    console.print(table, "")
    console.print(
        f"Better: mean improvement against {result.baseline} over AbsRel, SqRel, RMSE, RMSElog and 1 − δ1, and its "
        f"95 % interval over scenes and rigs, at LiDAR points and at dense depth. {result.data.limits}".rstrip(),
    )


def compact_table(first: str, *headings: str) -> Table:
    """A table that fits a terminal of 80 columns: names fold, figures do not."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold underline")
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
