"""`fsmde reproduce`: all stages in one run, and the comparison of the variants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from pipeline import config
from pipeline.commands.options import Assignments, ConfigFile, Device
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.version import code_version


def command(
    root: Annotated[str, typer.Option(help="Folder of the raw data.")],
    teacher: Annotated[str, typer.Option(help="Hub id of a depth model, or a local folder.")],
    dataset: Annotated[str, typer.Option(help="Format of the raw data.")] = "ddad",
    out: Annotated[Path, typer.Option(help="Folder of the cache, the runs and the table.")] = Path("runs/reproduce"),
    split: Annotated[str, typer.Option(help="Split to score on.")] = "val",
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of every variant.")] = None,
    device: Device = None,
    config_file: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Cache, train every variant on the same data, evaluate, compare. Run it again to resume.

    --config and --set take settings in two groups, cache and train: --set train.optimizer.lr=0.001.
    """
    options = {
        "cache.dataset": dataset,
        "cache.root": root,
        "cache.teacher.id": teacher,
        "cache.cache": out / "zarr",
        "cache.device": device,
        "train.steps": steps,
        "train.device": device,
    }
    with one_line_errors():
        from pipeline.reproduce import reproduce
        from pipeline.settings import ReproduceConfig

        _refuse_empty(root, teacher)
        settings = config.build(ReproduceConfig, config_file, assignments or [], options)
        console = Console()
        with ProgressBar(console, "units") as progress:
            result = reproduce(
                settings.cache, settings.train, out, split, progress, console.print, code_version=code_version()
            )
        console.print(Markdown(result.table.read_text(encoding="utf-8")))
        console.print(f"Written to {result.table}", markup=False, highlight=False)


def _refuse_empty(root: str, teacher: str) -> None:
    from cache_schema.errors import ConfigError

    if not root or not teacher:
        raise ConfigError(
            "reproduce needs a dataset and a teacher, for example: make reproduce DATASET=ddad ROOT=/data/ddad "
            "TEACHER=depth-anything/Depth-Anything-V2-Large-hf"
        )
