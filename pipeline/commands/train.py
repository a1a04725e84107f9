"""`fsmde train`: stage 2."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline import config
from pipeline.commands.options import Assignments, CacheFolder, ConfigFile, Device, DryRun
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal
from pipeline.version import code_version

FINISHED = "The run is finished; nothing was changed. To train longer or otherwise, choose another --run."


def command(
    run: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run goes on from it.")],
    cache: CacheFolder = None,
    teacher: Annotated[
        str | None, typer.Option(help="Name of a teacher in the cache.  [default: the only one]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split to train on.  [default: train]")] = None,
    unlabelled: Annotated[
        str | None, typer.Option(help="Cache of further rigs without LiDAR, which only the teacher teaches from.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="How often each rig is seen.  [default: 20]")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of epochs.")] = None,
    batch_rigs: Annotated[int | None, typer.Option(help="Rigs in one step of all processes.  [default: 2]")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.  [default: 0.0005]")] = None,
    seed: Annotated[int | None, typer.Option(help="Initial weights and order of rigs.  [default: 0]")] = None,
    workers: Annotated[int | None, typer.Option(help="Readers of the cache, per process.  [default: 2]")] = None,
    encoder_weights: Annotated[
        str | None, typer.Option(help="Hub id or folder of a ResNet to start from.  [default: random weights]")
    ] = None,
    device: Device = None,
    config_file: ConfigFile = None,
    assignments: Assignments = None,
    fast_dev_run: Annotated[
        bool, typer.Option("--fast-dev-run", help="Try a few steps of everything, in seconds, and keep nothing.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Train a student from the cache and nothing else. Run the same command again to resume.

    On several GPUs: torchrun --nproc-per-node 8 -m pipeline -- train …, or accelerate launch -m pipeline train …
    """
    options = {
        "teacher": teacher,
        "split": split,
        "unlabelled.cache": unlabelled,
        "epochs": epochs,
        "steps": steps,
        "loader.batch_rigs": batch_rigs,
        "loader.workers": workers,
        "optimizer.lr": lr,
        "seed": seed,
        "encoder_weights": encoder_weights,
        "device": device,
    }
    with one_line_errors():
        from stages.train.config import TrainConfig
        from stages.train.execute import execute
        from stages.train.plan import plan
        from stages.train.processes import join
        from stages.train.rehearsal import rehearsal_folder, rehearse
        from stages.train.share import refuse_uneven

        settings = config.build(TrainConfig, config_file, assignments or [], options)
        place = rehearsal_folder(run) if fast_dev_run else nullcontext(run)
        with join(settings.device) as processes, place as folder:
            console = terminal(quiet=not processes.main)
            with processes.together():
                made = plan(settings, cache or "zarr", folder)
                refuse_uneven(made.config, processes.count)
            _say(console, *made.describe(), *([f"shared   by {processes.count} processes"] * (processes.count > 1)))
            if made.finished:
                _say(console, FINISHED, _next(made.cache, run))
                return
            if dry_run:
                _say(console, "Nothing was done. Run without --dry-run to train.")
                return
            version = code_version()
            with ProgressBar(console, "steps") as progress:
                if fast_dev_run:
                    rehearse(settings, made.cache, folder, progress, code_version=version, processes=processes)
                    student = None
                else:
                    student = execute(made, progress, code_version=version, processes=processes).student
            if student is None:
                _say(console, "That was a rehearsal, and nothing is kept. Run without --fast-dev-run to train.")
                return
            _say(
                console,
                f"The student is in {student}",
                f"Curves: tensorboard --logdir {shlex.quote(str(run))}",
                _next(made.cache, run),
            )


def _next(cache: str, run: Path) -> str:
    """The command that scores the student, with the split where that is not the usual one."""
    from cache_schema import Cache

    splits = tuple(Cache(cache).manifest.splits)
    split = "" if "val" in splits else f" --split {splits[-1]}"
    return f"Next: fsmde evaluate --cache {shlex.quote(cache)} --run {shlex.quote(str(run))}{split}"


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)
