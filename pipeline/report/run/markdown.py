"""`report.md`: the tables of the report, for a terminal, a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.report.run.contents import Contents
from pipeline.report.run.page import about, about_scores, part_tables, score_tables, shown_because
from pipeline.report.run.tables import latency_table, overlap_table, worst_table
from pipeline.report.tables import escaped, markdown
from pipeline.study.table import ABOUT_CROSS_VIEW


def report(contents: Contents, pictures: Mapping[int, str]) -> str:
    """The page, with pictures by the numbers of their rigs."""
    main, latency = contents.main, contents.latency
    lines = [f"# {escaped(contents.name)}", "", *map(escaped, about(contents)), ""]
    for each in contents.evaluations:
        lines += [f"## Protocol {escaped(each.protocol.in_words)}", ""]
        for name, table in score_tables(each):
            lines += [f"{name}:", "", *markdown(table), ""]
    lines += [about_scores(contents), ""]
    for name, table in part_tables(main):
        lines += [f"## {name}", "", *markdown(table), ""]
    if (overlap := overlap_table(main)) is not None:
        lines += ["## Where views overlap", "", *markdown(overlap), "", ABOUT_CROSS_VIEW, ""]
    if latency is not None:
        lines += ["## Latency", "", f"{latency.measured}: the student is {latency.in_words}.", ""]
        lines += [*markdown(latency_table(latency)), ""]
    lines += ["## Worst rigs", "", *markdown(worst_table(main, {})), "", "## Rigs", ""]
    for seen in contents.rigs:
        title = escaped(f"{seen.title}: {shown_because(contents, seen.index)}")
        lines += [f"### {title}", "", f"![{title}]({pictures[seen.index]})", ""]
    return "\n".join(lines)
