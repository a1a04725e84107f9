"""The command line: parses, calls a stage, prints. Everything else is in the stages."""

from __future__ import annotations

import typer

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

app = typer.Typer(
    name="fsmde",
    help="Surround-view metric depth: cache a teacher once, train students from the cache, evaluate them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("street")(street.command)
app.command("cache-teacher")(cache_teacher.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("report")(report.command)
app.command("compare")(compare.command)
app.command("latency")(latency.command)
app.command("view")(view.command)
app.command("inspect")(inspect.command)
app.command("verify")(verify.command)
app.command("reproduce")(reproduce.command)
app.command("ablate")(ablate.command)


def main() -> None:
    """Entry point of the `fsmde` command."""
    app()
