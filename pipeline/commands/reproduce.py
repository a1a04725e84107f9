"""`fsmde reproduce`: all stages in one run, and the comparison of the variants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline import config
from pipeline.commands.options import Assignments, ConfigFile, Device
from pipeline.commands.tables import print_rows
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal
from pipeline.version import code_version

if TYPE_CHECKING:
    from pipeline.reproduce.result import ComparisonResult


def command(
    root: Annotated[str | None, typer.Option(help="Folder of the raw data.  [default: the embedded world]")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Hub id of a depth model, or a local folder.  [default: the embedded one]")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Format of the raw data.  [default: ddad]")] = None,
    ego_masks: Annotated[Path | None, typer.Option(help="Folder of ego-vehicle masks in VFDepth's layout.")] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(help="Folder of more raw data, whose LiDAR is not read: only the teacher labels it.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Of the embedded world: smoke, small or large.  [default: small]")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the cache, the runs and the results.")] = Path("runs/reproduce"),
    split: Annotated[str | None, typer.Option(help="Split to score on.  [default: val]")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Runs of every variant.  [default: 2; 1 at sizes smoke and small]")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time.  [default: 1; embedded world: 2]")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of every run.")] = None,
    device: Device = None,
    reference: Annotated[
        Path | None, typer.Option(help="Figures that are expected.  [default: those of the embedded world, small]")
    ] = None,
    write_reference: Annotated[Path | None, typer.Option(help="Keep what came out as a reference.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where a figure is not as expected.")] = False,
    config_file: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Cache, train every variant on the same data, evaluate, compare. Run it again to resume.

    Without --root, a world of its own is generated first. --config and --set take settings in groups, street, cache,
    unlabelled and train, and jobs, seeds, split, pictured and targets_of (cache.targets of one variant's own): --set
    train.optimizer.lr=0.001, --set targets_of.ckd.normalisation=quantiles.
    """
    with one_line_errors():
        from cache_schema.places import refuse_other_file
        from pipeline.reproduce import reference as references
        from pipeline.reproduce.run import reproduce
        from pipeline.settings import ReproduceConfig, reproduce_defaults

        if write_reference is not None:
            refuse_other_file(write_reference, "--write-reference", references.Reference, "reference")
        embedded = not root
        if embedded:
            size = size or "small"
            reference = reference or references.EMBEDDED.get(size)
        beside = {"--unlabelled": unlabelled, "--ego-masks": ego_masks}
        _refuse_contradictions(root, teacher, dataset, size, beside, strict=strict, reference=reference)
        options: dict[str, Any] = {
            "cache.dataset": dataset or None,
            "cache.root": out / "street" if embedded else root,
            "cache.ego_masks": ego_masks or (out / "street" / "masks" if embedded else None),
            "cache.teacher.id": teacher or None,
            "unlabelled.root": unlabelled or None,
            "cache.cache": out / "zarr",
            "cache.device": device,
            "train.steps": steps,
            "train.device": device,
            "split": split,
            "seeds": seeds,
            "jobs": jobs,
        }
        base = reproduce_defaults(size)
        settings = config.build(ReproduceConfig, config_file, assignments or [], options, base)
        console = terminal()

        def say(line: str) -> None:
            console.print(line, soft_wrap=True)

        made = reproduce(
            settings,
            out,
            lambda unit: ProgressBar(console, unit),
            say,
            reference=reference,
            code_version=code_version(),
        )
        print_comparison(console, made.result)
        if settings.note:
            say(settings.note)
        for file in made.files:
            say(f"Written to {file}")
        if write_reference is not None:
            references.write_reference(write_reference, made.result)
            say(f"Written to {write_reference}")
        if made.checks is not None:
            say(f"Against {reference}:")
            for line in references.summary(made.checks):
                say(f"  {line}")
            if strict and any(check.state != "holds" for check in made.checks):
                raise typer.Exit(1)


def print_comparison(console: Console, result: ComparisonResult) -> None:
    """The figures that matter most, in 80 columns; the rest is in the files."""
    print_rows(console, result)
    console.print(f"{result.latency.measured}: the student is {result.latency.in_words}.")


def _refuse_contradictions(
    root: str | None,
    teacher: str | None,
    dataset: str | None,
    size: str | None,
    beside: Mapping[str, Path | None],
    *,
    strict: bool,
    reference: Path | None,
) -> None:
    from cache_schema.errors import ConfigError

    if root and not teacher:
        raise ConfigError(
            "a dataset needs a teacher too, for example: make reproduce DATASET=ddad ROOT=/data/ddad "
            "TEACHER=depth-anything/Depth-Anything-V2-Large-hf"
        )
    if root and size:
        raise ConfigError("--size is of the embedded world, --root names other data; give one of them")
    for option, path in beside.items():
        if path and not root:
            raise ConfigError(f"{option} goes with the data of --root; the embedded world brings its own")
    if dataset and not root:
        raise ConfigError(f"--dataset {dataset} needs its folder: --root DIR; without both, the embedded world is used")
    if strict and reference is None:
        raise ConfigError("--strict compares with a reference; name it with --reference FILE")
