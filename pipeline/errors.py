"""How a failure reaches the person at the terminal: one line, a status other than zero, no traceback."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cache_schema.errors import FsmdeError, ToldElsewhereError
from pipeline.terminal import BROKEN_PIPE, abandon_output, make_printable
from stages.memory import is_out_of_memory
from stages.stop import StopSignal, stop_signals_interrupt

BUG = 70
"""Exit status of a program at fault, as sysexits.h has it."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print failures as one line and exit; FSMDE_DEBUG=1 lets the traceback through."""
    make_printable()
    if os.environ.get("FSMDE_DEBUG") == "1":
        with stop_signals_interrupt():
            yield
        return
    try:
        with stop_signals_interrupt():
            yield
    except ToldElsewhereError:
        raise typer.Exit(1) from None
    except FsmdeError as error:
        _fail(" ".join(str(error).split()), 1)
    except BrokenPipeError:
        abandon_output()
        raise typer.Exit(BROKEN_PIPE) from None
    except OSError as error:
        _fail(" ".join(f"{error.filename or 'input or output'}: {error.strerror or error}".split()), 1)
    except KeyboardInterrupt as error:
        status = 128 + (error.number if isinstance(error, StopSignal) else signal.SIGINT)
        if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun starts, one is enough to tell
            raise typer.Exit(status) from None
        _fail("interrupted; what is finished is kept, run the same command again to go on", status)
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        says = " ".join(str(error).split())
        if is_out_of_memory(error):
            _fail(f"out of memory: {says or 'nothing is left'}; free some, or do less at a time", 1)
        kind = type(error).__name__
        _fail(
            f"{kind}{': ' if says else ''}{says}. This is a fault of fsmde, not of yours: please report it, with "
            f"{_kept_traceback(error)}. What is finished is kept",
            BUG,
        )


def _kept_traceback(error: Exception) -> str:
    """Where the traceback is, in words: in a file, or where none can be written, printed now."""
    told = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="fsmde-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(told)
    except OSError:
        print(told, file=sys.stderr)
        return "what is printed above"
    return f"what is in {file.name}"


def _fail(message: str, status: int) -> None:
    print(f"fsmde: error: {message}", file=sys.stderr)  # not echo, which writes UTF-8 where the terminal says ASCII
    raise typer.Exit(status) from None
