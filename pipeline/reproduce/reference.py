"""Expected figures and how far they may be off: `reference.json`.

    {"settings": {"seeds": 2, "train.steps": 500},
     "rows": {"ckd_vrkd": {"lidar.abs_rel": {"expected": 0.12, "tolerance": 0.01}}}}

`settings` are those of the comparison that must be as they are there for the figures to be comparable, in groups or
by dotted keys; `rows` are those of `result.json`, with figures of the same names (`change:lidar.abs_rel` for a
relative change against the baseline). `tolerance` is absolute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, JsonValue, ValidationError

from cache_schema.durable import write_atomic
from cache_schema.errors import ConfigError
from cache_schema.manifest import Record
from pipeline.reproduce.result import ComparisonResult
from pipeline.settings import ReproduceConfig
from pipeline.study.figures import Figure
from pipeline.study.result import Row
from stages.json_text import BadJsonError, checked_json
from stages.wording import counted

CHANGE = "change:"
EMBEDDED: Final[Mapping[str, Path]] = {"small": Path(__file__).with_name("reference.json")}
"""What is expected of the embedded world, by size."""

_FIGURES = (
    "lidar.abs_rel", "lidar.rmse", "lidar.delta_1", "lidar.consistency.rel",
    "dense.abs_rel", "dense.rmse", "dense.delta_1", "dense.consistency.rel",
)  # fmt: skip
_CHANGES = ("lidar.abs_rel", "dense.abs_rel", "lidar.gain")
_SPREADS, _SHARE, _CHANGE_BY = 3, 0.1, 0.05


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
        return Reference.model_validate_json(checked_json(file.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"--reference {file}: {f'{where}: ' if where else ''}{first['msg']}") from error
    except OSError as error:
        raise ConfigError(f"--reference {file} cannot be read ({error.strerror})") from error
    except BadJsonError as error:
        raise ConfigError(f"--reference {file} {error}") from error


def reference_of(result: ComparisonResult) -> Reference:
    """What to expect of the same settings elsewhere: the figures of a result.

    Another processor rounds differently, and training makes much of it, as of another seed. So the tolerance is three
    standard deviations over the seeds, and no less than a tenth of the figure, or 0.05 for a relative change. A
    single seed lies within that too, so how many there were does not matter.
    """
    return Reference(
        settings=ReproduceConfig.model_validate(result.settings).of_the_figures(),
        rows={row.name: _expected(row) for row in result.rows},
    )


def write_reference(file: Path, result: ComparisonResult) -> None:
    """Write what to expect from now on."""
    write_atomic(file, reference_of(result).model_dump_json(indent=1) + "\n")


def other_settings(reference: Reference, settings: Mapping[str, JsonValue]) -> list[str]:
    """Where the settings are not those that the figures were made with, one line each."""
    return [
        f"{key}: {expected!r} in the reference, {found!r} here"
        for key, expected in _leaves(reference.settings)
        if (found := _look_up(settings, key)) != expected
    ]


def compare(reference: Reference, result: ComparisonResult) -> list[Check]:
    """Every expectation, in the reference's order."""
    return [
        _check(result, row, figure, expectation)
        for row, expectations in reference.rows.items()
        for figure, expectation in expectations.items()
    ]


def summary(checks: Sequence[Check]) -> list[str]:
    """Row by row, whether its figures are as expected; those that are not, one line each."""
    lines = []
    for row in dict.fromkeys(check.row for check in checks):
        of_row = [check for check in checks if check.row == row]
        off = [check for check in of_row if check.state != "holds"]
        lines.append(f"{row}: {counted(len(of_row), 'figure')}, {f'{len(off)} not' if off else 'all'} as expected")
        lines += [f"  {describe(check)}" for check in off]
    return lines


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


def _expected(row: Row) -> dict[str, Expectation]:
    figures = {name: row.figures[name] for name in _FIGURES if name in row.figures}
    changes = {name: row.change[name] for name in _CHANGES if name in row.change}
    expected = {name: _around(figure, _SHARE * abs(figure.mean or 0)) for name, figure in figures.items()}
    expected |= {f"{CHANGE}{name}": _around(figure, _CHANGE_BY) for name, figure in changes.items()}
    return {name: expectation for name, expectation in expected.items() if expectation is not None}


def _around(figure: Figure, at_least: float) -> Expectation | None:
    if figure.mean is None:
        return None
    tolerance = max(at_least, _SPREADS * (figure.spread or 0))
    return Expectation(expected=_short(figure.mean), tolerance=_short(tolerance))


def _short(number: float) -> float:
    """To four digits: a reference is read by people."""
    return float(f"{number:.4g}")


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _look_up(settings: Mapping[str, JsonValue], key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
