"""Expected figures and how far they may be off: `reference.json`.

    {"settings": {"seeds": 2, "train.steps": 500},
     "rows": {"ckd_vrkd": {"lidar.abs_rel": {"expected": 0.12, "tolerance": 0.01}}}}

`settings` are dotted keys of the comparison's settings that must be as they are there for the figures to be
comparable; `rows` are those of `result.json`, with figures of the same names (`change:lidar.abs_rel` for a relative
change against the baseline). `tolerance` is absolute.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError

from cache_schema.errors import ConfigError
from cache_schema.manifest import Record
from pipeline.reproduce.result import ComparisonResult

CHANGE = "change:"


class Expectation(Record):
    """A figure that is to come out again."""

    expected: float
    tolerance: float = Field(ge=0)


class Reference(Record):
    """The whole of `reference.json`."""

    settings: dict[str, JsonValue] = Field(default_factory=dict)
    rows: dict[str, dict[str, Expectation]]


class Check(Record):
    """One expectation and what was found: none, where the result lacks the figure."""

    row: str
    figure: str
    expected: float
    tolerance: float
    found: float | None
    state: Literal["holds", "differs", "missing"]


def read_reference(file: Path) -> Reference:
    """Read a reference. Raises ConfigError."""
    try:
        return Reference.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"--reference {file}: {where}: {first['msg']}") from error
    except OSError as error:
        raise ConfigError(f"--reference {file} cannot be read ({error.strerror})") from error


def other_settings(reference: Reference, settings: Mapping[str, JsonValue]) -> list[str]:
    """Where the settings are not those that the figures were made with, one line each."""
    return [
        f"{key}: {expected!r} in the reference, {found!r} here"
        for key, expected in reference.settings.items()
        if (found := _look_up(settings, key)) != expected
    ]


def compare(reference: Reference, result: ComparisonResult) -> list[Check]:
    """Every expectation, in the reference's order."""
    return [
        _check(result, row, figure, expectation)
        for row, expectations in reference.rows.items()
        for figure, expectation in expectations.items()
    ]


def describe(check: Check) -> str:
    """The check as a sentence."""
    expected = f"expected {check.expected:.4g} ± {check.tolerance:.2g}"
    found = "nothing found" if check.found is None else f"found {check.found:.4g}"
    return f"{check.row} {check.figure}: {check.state}: {found}, {expected}"


def _check(result: ComparisonResult, row: str, figure: str, expectation: Expectation) -> Check:
    there = result.row(row)
    figures = {} if there is None else there.change if figure.startswith(CHANGE) else there.figures
    known = figures.get(figure.removeprefix(CHANGE))
    found = None if known is None else known.mean
    state: Literal["holds", "differs", "missing"] = "missing"
    if found is not None:
        state = "holds" if abs(found - expectation.expected) <= expectation.tolerance else "differs"
    return Check(
        row=row,
        figure=figure,
        expected=expectation.expected,
        tolerance=expectation.tolerance,
        found=found,
        state=state,
    )


def _look_up(settings: Mapping[str, JsonValue], key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
