"""`python -m stages.cache_teacher.teachers.street`: train, publish and score the street teacher."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import ValidationError

from cache_schema.durable import write_atomic
from cache_schema.errors import FsmdeError, TrainingError
from stages.cache_teacher.teachers.street import FOLDER
from stages.cache_teacher.teachers.street.card import FACTS, TrainingFacts, table, write_card
from stages.cache_teacher.teachers.street.evaluate import evaluate
from stages.cache_teacher.teachers.street.publish import publish
from stages.cache_teacher.teachers.street.settings import Budget, TrainingSettings
from stages.cache_teacher.teachers.street.train import supply_of, train
from stages.cache_teacher.teachers.street.training_state import Training
from stages.device import choose_device
from stages.stop import StopRequest
from stages.wording import counted

DEFAULTS = TrainingSettings()
DEFAULT_MINUTES = 60.0
RIGS = 2
"""Rigs of each validation town."""

app = typer.Typer(
    help="The street teacher: a small depth model for the embedded world.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Option(help="Where the weights are; default: inside the package.")]
Towns = Annotated[int, typer.Option(help="Validation towns to score on.", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda …")]


@app.command("train")
def train_command(
    run: Annotated[Path, typer.Option(help="State of the training; the same folder goes on.")] = Path(
        "runs/street-teacher"
    ),
    out: Folder = FOLDER,
    minutes: Annotated[float | None, typer.Option(help=f"Train so long; default: {DEFAULT_MINUTES:g}.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train so many steps instead.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that render towns, beside the trainer.", min=1)] = 1,
    threads: Annotated[int | None, typer.Option(help="Threads of the trainer; default: as torch chooses.")] = None,
    device: Device = "auto",
    towns: Towns = 50,
    seed: int = DEFAULTS.seed,
    height: int = DEFAULTS.height,
    width: int = DEFAULTS.width,
    batch: int = DEFAULTS.batch,
    lr: float = DEFAULTS.lr,
    reuse: Annotated[float, typer.Option(help="How often a picture is drawn.")] = DEFAULTS.reuse,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = DEFAULTS.precision,
) -> None:
    """Train the teacher, write its files, score it and write its model card."""
    try:
        budget = Budget(steps=steps, minutes=DEFAULT_MINUTES if steps is None and minutes is None else minutes)
        settings = TrainingSettings.model_validate(
            {
                "seed": seed,
                "height": height,
                "width": width,
                "batch": batch,
                "lr": lr,
                "reuse": reuse,
                "precision": precision,
            }
        )
    except ValidationError as error:
        raise typer.BadParameter("; ".join(each["msg"] for each in error.errors())) from error
    if threads is not None:
        torch.set_num_threads(threads)
    with StopRequest() as stop:
        chosen = choose_device(device)
        training = train(settings, budget, run, device=chosen, workers=workers, stop=lambda: stop.asked)
    if budget.progress(training.step, training.seconds) < 1:
        typer.echo(f"stopped after {training.step} steps; the same command goes on")
        raise typer.Exit(130)
    publish(training.average, out, height=settings.height, width=settings.width)
    write_atomic(out / FACTS, _facts(settings, training, choose_device(device)).model_dump_json(indent=2) + "\n")
    _score(out, towns, device)


@app.command("evaluate")
def evaluate_command(out: Folder = FOLDER, towns: Towns = 50, device: Device = "auto") -> None:
    """Score the teacher on towns that it was not trained on, and write its model card."""
    _score(out, towns, device)


def _score(folder: Path, towns: int, device: str) -> None:
    if not (folder / FACTS).is_file():
        raise TrainingError(f"{folder} holds no {FACTS}; it is written with the weights by: make street-teacher")
    facts = TrainingFacts.model_validate_json((folder / FACTS).read_text(encoding="utf-8"))
    height, width = facts.settings.height, facts.settings.width
    found = evaluate(folder, towns=towns, rigs=RIGS, height=height, width=width, device=str(choose_device(device)))
    write_card(folder, facts, found)
    typer.echo(f"{folder}, {found.images} images of {found.towns} towns\n{table(found)}")


def _facts(settings: TrainingSettings, training: Training, device: torch.device) -> TrainingFacts:
    cpu = f"{device.type}, {counted(torch.get_num_threads(), 'thread')}"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return TrainingFacts(
        settings=settings,
        steps=training.step,
        minutes=training.seconds / 60,
        towns=supply_of(settings).window(training.step - 1).stop,
        parameters=sum(parameter.numel() for parameter in training.network.parameters()),
        computed_on=f"{name}, torch {torch.__version__}",
    )


if __name__ == "__main__":
    try:
        app(prog_name="python -m stages.cache_teacher.teachers.street")
    except FsmdeError as error:
        sys.exit(f"error: {error}")
