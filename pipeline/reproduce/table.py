"""`table.md`: the comparison as a Markdown page that says what it was made from."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.reproduce.reference import Check, describe
from pipeline.reproduce.result import ComparisonResult
from pipeline.study import table
from stages.wording import counted


def markdown(result: ComparisonResult, checks: Sequence[Check] | None) -> str:
    """The page; `checks` against a reference, if there was one."""
    return "\n".join(
        [
            f"# {result.data.title}: {counted(len(result.seeds), 'seed')} of {counted(result.steps, 'step')}",
            "",
            *provenance(result),
            "",
            *table.table(result.rows, [*table.main_cells(result), *change_cells(result)]),
            "",
            table.about_improvements(result),
            "",
            *table.legend(result),
            "",
            *table.all_metrics(result),
            *table.cross_view(result),
            *table.paired(result),
            *_speed(result),
            *table.wall_time(result),
            *_reference(checks),
        ]
    )


def provenance(result: ComparisonResult) -> list[str]:
    """What the figures were made from, in sentences."""
    data = result.data
    further = f" and {data.unlabelled_rigs} without LiDAR, for those they teach" if data.unlabelled_rigs else ""
    trained = f"trained on {data.train_rigs} rigs of {data.views} views{further}, scored on {data.rigs}"
    return table.provenance(result, f"{data.dataset} {data.version}: {trained}")


def change_cells(result: ComparisonResult) -> table.Cells:
    """Columns of the changes against the baseline that are known."""
    headings = {"lidar.abs_rel": "AbsRel", "dense.abs_rel": "dense AbsRel"}
    return [
        (f"change of {heading} against {result.baseline}", table.of_change(name))
        for name, heading in headings.items()
        if result.knows(name)
    ]


def _speed(result: ComparisonResult) -> list[str]:
    latency = result.latency
    return ["## Speed", "", f"{latency.measured}: the student is **{latency.in_words}**.", ""]


def _reference(checks: Sequence[Check] | None) -> list[str]:
    if checks is None:
        return []
    return ["## Against the reference", "", *(f"- {describe(check)}" for check in checks), ""]
