"""How a failure reaches the person at the terminal: one line, a status other than zero, no traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cache_schema.errors import FsmdeError, ToldElsewhereError
from stages.memory import is_out_of_memory


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print expected failures as one line and exit; FSMDE_DEBUG=1 lets the traceback through."""
    if os.environ.get("FSMDE_DEBUG") == "1":
        yield
        return
    try:
        yield
    except ToldElsewhereError:
        raise typer.Exit(1) from None
    except FsmdeError as error:
        _fail(" ".join(str(error).split()), 1)
    except OSError as error:
        _fail(" ".join(f"{error.filename or 'input or output'}: {error.strerror or error}".split()), 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _fail(f"out of memory: {' '.join(str(error).split()) or 'nothing is left'}; free some, or do less at a time", 1)
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun starts, one is enough to tell
            raise typer.Exit(130) from None
        _fail("interrupted; what is finished is kept, run the same command again to go on", 130)


def _fail(message: str, status: int) -> None:
    typer.echo(f"fsmde: error: {message}", err=True)
    raise typer.Exit(status) from None
