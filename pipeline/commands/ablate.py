"""`fsmde ablate`: a study of one's own, variants × seeds, as a table with paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.commands.options import Assignments, Device, DryRun
from pipeline.commands.tables import compact_table, print_rows
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal
from pipeline.version import code_version
from stages.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.study.study import Study


def command(
    file: Annotated[Path, typer.Argument(metavar="STUDY", help="YAML file of the study; docs/ablation.md says how.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the data, the runs and the results.  [default: runs/NAME]")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="VARIANT", help="Train this variant alone; repeatable.  [default: all]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of every trial.  [default: 3]")] = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time.  [default: 1]")] = None,
    device: Device = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Train and score every variant at every point of a grid, several times, and compare them rig by rig.

    What is finished is skipped: run it again to go on, or after changing a variant to run that one anew. A run that
    fails is named at the end, the others go on, and the next time it is tried again.
    """
    with one_line_errors():
        from pipeline.study.expand import expand, read_study
        from pipeline.study.run import conduct

        options: dict[str, Any] = {"seeds": seeds, "jobs": jobs, "train.device": device}
        config = read_study(file, assignments or [], options)
        if config.cache is not None and device is not None:
            config = config.model_copy(update={"cache": config.cache.model_copy(update={"device": device})})
        chosen = tuple(only or ())
        _refuse_unknown(chosen, [variant.name for variant in config.variants])
        study = expand(config, out or Path("runs") / file.stem, code_version=code_version())
        console = terminal()

        def say(line: str) -> None:
            console.print(line, soft_wrap=True)

        say(f"study    {file}: {config.in_words}; in {study.out}")
        if dry_run:
            print_grid(console, study, chosen)
            console.print("Nothing was done. Run without --dry-run to do what is left.")
            return
        made = conduct(
            study, lambda unit: ProgressBar(console, unit), say, plots=config.plot, only=chosen, jobs=config.jobs
        )
        print_rows(console, made.result)
        if config.note:
            say(config.note)
        for written in made.files:
            say(f"Written to {written}")
        for failure in made.failures:
            say(f"failed   {failure.part}: {failure.reason}")
        if made.failures:
            failed = counted(len(made.failures), "part")
            say(f"{failed} failed, tracebacks are in {study.records}; run the same command to try again")
            raise typer.Exit(1)


def print_grid(console: Console, study: Study, only: Collection[str] = ()) -> None:
    """What is done and what is left: the data, then every trial."""
    from pipeline.study.part import finished
    from pipeline.study.run import progress_of

    cells = progress_of(study, only)
    table = compact_table("trial", "done", "left", "steps", "a step", "rigs", "without")
    for cell in cells:
        training, further = cell.trial.training, cell.trial.training.unlabelled
        step = f"{training.loader.batch_rigs}" + (f" + {further.batch_rigs}" if further else "")
        row = (len(cell.done), len(cell.left), cell.steps, step, cell.rigs, cell.unlabelled_rigs or "–")
        table.add_row(cell.trial.name, *map(str, row))
    parts = study.parts(only)
    for part in parts:
        if part.kind != "run":
            state = "done" if finished(part, study.records) else "left"
            console.print(f"{state:8} {part.name}", soft_wrap=True)
    console.print(table, "")
    runs = [part for part in parts if part.kind == "run"]
    left = sum(not finished(part, study.records) for part in runs)
    console.print(
        f"{counted(len(runs), 'run')}, {left} left. A step: rigs with LiDAR + without; without: rigs without LiDAR. "
        "Trials that are the same run share it.",
    )


def _refuse_unknown(chosen: Collection[str], known: list[str]) -> None:
    from cache_schema.errors import ConfigError

    for name in chosen:
        if name not in known:
            raise ConfigError(f"--only {name}: there is no such variant; there are: {', '.join(known)}")
