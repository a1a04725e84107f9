"""`fsmde inspect`: what a cache holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.errors import one_line_errors

if TYPE_CHECKING:
    from cache_schema import Manifest
    from cache_schema.summary import GroupSummary, Summary

SCENES_SHOWN = 8


def command(
    cache: Annotated[str, typer.Argument(help="Folder or URL of the cache.")] = "zarr",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Also draw one rig, all it has, into this PNG.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the sheet.  [default: the first complete one]")] = None,
    rig: Annotated[int, typer.Option(help="Rig of the sheet.")] = 0,
    teacher: Annotated[str | None, typer.Option(help="Teacher of the sheet.  [default: the first]")] = None,
) -> None:
    """Say what a cache holds, how far it is, and how large; draw a rig of it."""
    with one_line_errors():
        from cache_schema import Cache
        from cache_schema.summary import summarise

        opened = Cache(cache)
        summary = summarise(opened)
        console = Console(stderr=as_json)
        if as_json:
            typer.echo(summary.model_dump_json(indent=2))
        else:
            _print(console, summary)
        if sheet is not None:
            from stages.cache_teacher.sheet import write_sheet

            shown, spoken = _choose(summary.manifest, split, teacher)
            write_sheet(opened, sheet, split=shown, rig=rig, teacher=spoken)
            console.print(f"Drawn to {sheet}", markup=False, highlight=False)


def _choose(manifest: Manifest, split: str | None, teacher: str | None) -> tuple[str, str | None]:
    """The split and the teacher of the sheet: the first that are complete, unless they are named."""
    complete = [name for name, record in manifest.splits.items() if record.frames_complete]
    chosen = split or next(iter(complete or manifest.splits), "train")
    teachers = manifest.splits[chosen].teachers_complete if chosen in manifest.splits else ()
    return chosen, teacher or next(iter(teachers), None)


def _print(console: Console, summary: Summary) -> None:
    def say(name: str, value: str) -> None:
        console.print(f"{name:9}{value}", markup=False, highlight=False, soft_wrap=True)

    manifest = summary.manifest
    dataset, image = manifest.dataset, manifest.image
    say("cache", f"{summary.location}, schema version {manifest.schema_version}, fsmde {manifest.code_version}")
    say("dataset", f"{dataset.name} {dataset.version}")
    say("ring", f"{' → '.join(dataset.cameras)}; {len(dataset.adjacent_pairs)} adjacent pairs")
    native = f"{dataset.native_size[1]} × {dataset.native_size[0]} raw"
    say("images", f"{image.width} × {image.height} from {native}, {image.encoding}, {image.resize}")
    for name, record in manifest.teachers.items():
        who, targets = record.identity, record.targets
        revision = f" at {who.revision[:12]}" if who.revision else ""
        say("teacher", f"{name}: {who.id}{revision}, {who.kind}, weights {who.weights_sha256[:12]}")
        say("", f"{targets.width} × {targets.height}, K = {targets.bins.count}, {targets.encoding}")
    for split, scenes in summary.scenes.items():
        listed = [f"{name} ({rigs})" for name, rigs in scenes.items()]
        more = f" and {len(listed) - SCENES_SHOWN} more" if len(listed) > SCENES_SHOWN else ""
        say("scenes", f"{split}: {len(listed)}: {', '.join(listed[:SCENES_SHOWN])}{more}")
    for group in summary.groups:
        console.print("")
        console.print(_table(group))


def _table(group: GroupSummary) -> Table:
    what = "frames" if group.teacher is None else f"teacher {group.teacher}"
    state = "complete" if group.complete else f"{group.shards_done} of {group.shards} shards done, not complete"
    table = Table(
        title=f"{group.split}, {what}: {group.rigs_done} of {group.rigs} rigs, {state}",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="bold underline",
    )
    table.add_column("array", no_wrap=True)
    for heading in ("type", "shape", "MB", "kB per rig", "compressed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for array in group.arrays:
        shape = " × ".join(map(str, array.shape))
        ratio = "" if array.ratio is None else f"{array.ratio:.1f} ×"
        table.add_row(
            array.name, array.dtype, shape, f"{array.bytes_stored / 1e6:.2f}", f"{array.bytes_per_rig / 1e3:.2f}", ratio
        )
    per_rig = group.bytes_stored / group.rigs_done / 1e3 if group.rigs_done else 0
    table.add_row("all", "", "", f"{group.bytes_stored / 1e6:.2f}", f"{per_rig:.2f}", "", style="bold")
    return table
