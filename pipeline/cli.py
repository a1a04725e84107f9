"""The command line: parses, calls a stage, prints. Everything else is in the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from pipeline.commands import (
    ablate,
    cache_teacher,
    compare,
    evaluate,
    inspect,
    latency,
    report,
    reproduce,
    street,
    train,
    verify,
    view,
)
from pipeline.errors import one_line_errors
from pipeline.terminal import end_without_output, flush_output, make_printable
from stages.user_path import means_home, user_path


class _Verb(TyperCommand):
    """A command that takes ~ for the home folder also where no shell did, as in --root=~/data."""

    def invoke(self, ctx: Any) -> Any:
        with one_line_errors():
            ctx.params = {name: _with_home(value) for name, value in ctx.params.items()}
        return super().invoke(ctx)


app = typer.Typer(
    name="fsmde",
    help="Surround-view metric depth: cache a teacher once, train students from the cache, evaluate them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("street", cls=_Verb)(street.command)
app.command("cache-teacher", cls=_Verb)(cache_teacher.command)
app.command("train", cls=_Verb)(train.command)
app.command("evaluate", cls=_Verb)(evaluate.command)
app.command("report", cls=_Verb)(report.command)
app.command("compare", cls=_Verb)(compare.command)
app.command("latency", cls=_Verb)(latency.command)
app.command("view", cls=_Verb)(view.command)
app.command("inspect", cls=_Verb)(inspect.command)
app.command("verify", cls=_Verb)(verify.command)
app.command("reproduce", cls=_Verb)(reproduce.command)
app.command("ablate", cls=_Verb)(ablate.command)


def main() -> None:
    """Entry point of the `fsmde` command."""
    make_printable()
    try:
        app()
    except OSError as error:  # of a help page: commands report their own
        if error.filename is not None:
            raise
        end_without_output(error)
    finally:
        flush_output()


def _with_home(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_home(each) for each in value]
    if isinstance(value, str | Path) and means_home(str(value)):
        return type(value)(user_path(value))
    return value
