"""Tables that a page and a Markdown file show alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, what more stands there in small letters, and what a page sorts it by."""

    text: str
    small: str = ""
    value: float | None = None


EMPTY = Cell(NOTHING)


def number(value: float | None, digits: int = 3, interval: tuple[float, float] | None = None) -> Cell:
    """A figure, perhaps with its interval."""
    if value is None:
        return EMPTY
    small = "" if interval is None else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    return Cell(f"{value:.{digits}f}", small, value)


def count(value: int) -> Cell:
    """A number of things."""
    return Cell(f"{value:,}".replace(",", "\u202f"), value=value)


@dataclass(frozen=True)
class Line:
    """A row: its name and its cells."""

    name: str
    cells: tuple[Cell, ...]
    kind: str = ""
    """What sets it apart on a page: `method`, `teacher`, `published`, `quiet`."""
    link: str = ""
    """Where its name leads, on the page."""


@dataclass(frozen=True)
class Table:
    """Rows under headings; `first` is the heading of their names."""

    first: str
    headings: tuple[str, ...]
    lines: tuple[Line, ...]


def markdown(table: Table) -> list[str]:
    """The table in Markdown."""
    head = [f"| {table.first} | {' | '.join(table.headings)} |", f"|---{'|---:' * len(table.headings)}|"]
    return head + [
        f"| {escaped(line.name)} | {' | '.join(f'{cell.text} {cell.small}'.strip() for cell in line.cells)} |"
        for line in table.lines
    ]


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: names of scenes and folders may hold anything."""
    return re.sub(r"([\\|_*`<>\[\]#])", r"\\\1", " ".join(text.split()))
