"""Printing that neither fails nor changes what it prints, whatever the terminal and whatever the names in it."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import NoReturn

from rich.console import Console

BROKEN_PIPE = 141
"""Exit status of a program whose reader has gone, as a shell says it."""

_ERRORS = "fsmde.ascii"
_NARROWEST = 20
_ASCII = str.maketrans({
    "×": "x", "→": "->", "−": "-", "–": "-", "…": "...", "δ": "d", "σ": "s", "λ": "l", "°": " deg",
    "┃": "|", "│": "|", "━": "-", "─": "-", "▏": "|", "█": "#", "’": "'", "‘": "'", "“": '"', "”": '"', "±": "+-",
    "²": "2", "³": "3", "µ": "u", "≤": "<=", "≥": ">=", "·": ".", "•": "*",
})  # fmt: skip


def terminal(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is: brackets in names are no markup, :words: no pictures."""
    console = _Terminal(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)
    if console.width < _NARROWEST:  # COLUMNS=0, or a pseudo-terminal without a size
        console.width = 80
    return console


def make_printable() -> None:
    """From now on standard output and error take any text: what their encoding lacks is printed in ASCII."""
    codecs.register_error(_ERRORS, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != _ERRORS:
            with suppress(io.UnsupportedOperation, ValueError):  # closed
                stream.reconfigure(errors=_ERRORS)


def flush_output() -> None:
    """Print what is still to be printed. Where that fails, end with one line at most instead of Python's own message.

    Raises SystemExit.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        end_without_output(error)


def end_without_output(error: OSError) -> NoReturn:
    """End since standard output takes nothing more. Raises SystemExit."""
    abandon_output()
    if isinstance(error, BrokenPipeError):
        raise SystemExit(BROKEN_PIPE) from None
    print(f"fsmde: error: standard output: {error.strerror}", file=sys.stderr)
    raise SystemExit(1) from None


def abandon_output() -> None:
    """Write what is still to be printed to nowhere: nobody reads standard output any more."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        self.quiet = True
        abandon_output()
        raise SystemExit(BROKEN_PIPE)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = lacking.translate(_ASCII)
    return plain.encode("ascii", "backslashreplace").decode(), error.end
