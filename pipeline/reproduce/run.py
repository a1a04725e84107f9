"""Carry out a comparison and write what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache_schema.durable import write_atomic
from pipeline.report.comparison.page import write_report
from pipeline.reproduce.plan import plan
from pipeline.reproduce.reference import Check, compare, other_settings, read_reference
from pipeline.reproduce.result import ComparisonResult, collect
from pipeline.reproduce.table import markdown
from pipeline.settings import ReproduceConfig
from pipeline.study.parts import Watch, carry_out, refuse_failures

TABLE, RESULT, REPORT = "table.md", "result.json", "report.html"


@dataclass(frozen=True)
class Reproduction:
    """What came of it, and the files that say so; `checks` is none where there was no reference."""

    result: ComparisonResult
    checks: list[Check] | None
    table: Path
    files: tuple[Path, ...]


def reproduce(
    config: ReproduceConfig,
    out: Path,
    watch: Watch,
    say: Callable[[str], None],
    *,
    reference: Path | None = None,
    code_version: str,
) -> Reproduction:
    """Run all stages. Raises what the stages raise, when all is done that could be; what is finished is kept."""
    expected = None if reference is None else read_reference(reference)
    comparison = plan(config, out, code_version=code_version)
    refuse_failures(carry_out(comparison.parts(), comparison.study.records, watch, say, jobs=config.jobs))
    result = collect(comparison)
    checks = None
    if expected is not None:
        for line in other_settings(expected, result.settings):
            say(f"the reference was made with other settings: {line}")
        checks = compare(expected, result)
    table, data, report = (out / name for name in (TABLE, RESULT, REPORT))
    write_atomic(data, result.model_dump_json(indent=2) + "\n")
    write_atomic(table, markdown(result, checks))
    say("drawing the report")
    write_report(report, comparison, result, checks)
    return Reproduction(result=result, checks=checks, table=table, files=(table, data, report))
