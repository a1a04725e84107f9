"""`fsmde inspect`: what a cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from pipeline.errors import one_line_errors
from pipeline.terminal import terminal
from stages.wording import counted, size

if TYPE_CHECKING:
    from cache_schema import Manifest, SplitRecord
    from cache_schema.summary import ArraySummary, GroupSummary, Summary

SCENES_SHOWN = 8
ENOUGH_COLUMNS = 300
"""For any table: what is too wide for a terminal goes on in its next line, nothing is cut off."""
RATIO = "ratio: bytes before compression by bytes stored; –: rigs fill the array to different lengths"
T = TypeVar("T")


def command(
    cache: Annotated[str, typer.Argument(help="Folder or URL of the cache.")] = "zarr",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Also draw one rig, all it has, into this .png or .jpg.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the sheet.  [default: the first complete one]")] = None,
    rig: Annotated[int, typer.Option(help="Rig of the sheet.")] = 0,
    teacher: Annotated[str | None, typer.Option(help="Teacher of the sheet.  [default: the first]")] = None,
) -> None:
    """Say what a cache holds, how far it is, and how large; draw a rig of it."""
    with one_line_errors():
        from cache_schema import Cache
        from cache_schema.errors import CacheCorruptError
        from cache_schema.summary import summarise
        from cache_schema.verify import refuse_without_journal
        from stages.picture_file import require_picture

        if sheet is not None:
            require_picture(sheet, "--sheet")
        opened = Cache(cache)
        if split is not None:
            opened.split_record(split)  # a name that is not there is mistyped, also where nothing is drawn
        summary = summarise(opened)
        console = terminal(stderr=as_json)
        try:
            refuse_without_journal(opened.storage, opened.manifest)
        except CacheCorruptError as lost:
            console.print(str(lost), style="yellow", soft_wrap=True)
        if as_json:
            typer.echo(summary.model_dump_json(indent=2))
        else:
            _print(console, summary)
        if sheet is not None:
            from stages.cache_teacher.sheet import write_sheet

            shown, spoken = _choose(summary.manifest, split, teacher)
            write_sheet(opened, sheet, split=shown, rig=rig, teacher=spoken)
            console.print(f"Drawn to {sheet}")


def _choose(manifest: Manifest, split: str | None, teacher: str | None) -> tuple[str, str | None]:
    """The split and the teacher of the sheet: the first that are complete, unless they are named."""
    complete = [name for name, record in manifest.splits.items() if record.frames_complete]
    chosen = split or next(iter(complete or manifest.splits), "train")
    teachers = manifest.splits[chosen].teachers_complete if chosen in manifest.splits else ()
    return chosen, teacher or next(iter(teachers), None)


def _print(console: Console, summary: Summary) -> None:
    def say(name: str, value: str) -> None:
        console.print(f"{name:9}{value}", soft_wrap=True)

    manifest = summary.manifest
    dataset, image = manifest.dataset, manifest.image
    say("cache", f"{summary.location}, schema version {manifest.schema_version}, fsmde {manifest.code_version}")
    say("dataset", f"{dataset.name} {dataset.version}")
    say("ring", f"{' → '.join(dataset.cameras)}; {counted(len(dataset.adjacent_pairs), 'adjacent pair')}")
    native = f"{dataset.native_size[1]} × {dataset.native_size[0]} raw"
    say("images", f"{image.width} × {image.height} from {native}, {image.encoding}, {image.resize}")
    for name, record in manifest.teachers.items():
        who, targets = record.identity, record.targets
        revision = f" at {who.revision[:12]}" if who.revision else ""
        say("teacher", f"{name}: {who.id}{revision}, {who.kind}, weights {who.weights_sha256[:12]}")
        grid = f"{targets.width} × {targets.height}"
        scale = "with" if targets.test_time_views else "without"
        how = f"{targets.encoding}, u by {targets.normalisation}, {scale} raw scale"
        say("", f"{grid}, K = {targets.bins.count}, {how}")
    for split, planned in manifest.splits.items():
        groups = [group for group in summary.groups if group.split == split]
        say("split", f"{split}: {counted(planned.rigs, 'rig')}; {'; '.join(map(_progress, groups))}")
        if made := _made_otherwise(planned):
            say("", "; ".join(made))
    for split, scenes in summary.scenes.items():
        conditions = manifest.splits[split].scene_conditions
        listed = [
            f"{name} ({', '.join([counted(rigs, 'rig'), *conditions.get(name, ())])})" for name, rigs in scenes.items()
        ]
        more = f" and {len(listed) - SCENES_SHOWN} more" if len(listed) > SCENES_SHOWN else ""
        say("scenes", f"{split}: {counted(len(listed), 'scene')}: {', '.join(listed[:SCENES_SHOWN])}{more}")
    table = _sizes(summary)
    table.width = Measurement.get(console, console.options.update_width(ENOUGH_COLUMNS), table).maximum
    console.print("")
    console.print(table, crop=False)
    console.print(RATIO, soft_wrap=True)


def _made_otherwise(split: SplitRecord) -> list[str]:
    """What of a split is not as usual: no LiDAR, or of several sweeps, or not all samples."""
    without = [] if split.lidar else ["without LiDAR"]
    sweeps = [f"LiDAR of up to {split.lidar_sweeps} sweeps"] if split.lidar_sweeps > 1 else []
    return without + sweeps + [f"{name} {_in_short(name, value)}" for name, value in split.selection.items()]


def _in_short(name: str, value: object) -> str:
    """A digest by its beginning, a list by its length."""
    return str(value)[:12] if name.endswith("sha256") else str(len(value)) if isinstance(value, list) else str(value)


def _name(teacher: str | None) -> str:
    return "frames" if teacher is None else f"teacher {teacher}"


def _progress(group: GroupSummary) -> str:
    if group.complete:
        return f"{_name(group.teacher)} complete"
    if not group.shards_done:
        return f"{_name(group.teacher)} not begun"
    shards = f"{group.shards_done} of {counted(group.shards, 'shard')}"
    return f"{_name(group.teacher)} not complete, {shards}, {group.rigs_done} of {counted(group.rigs, 'rig')}"


@dataclass(frozen=True)
class _Part:
    """An array of a split."""

    split: str
    teacher: str | None
    rigs: int
    array: ArraySummary


def _sizes(summary: Summary) -> Table:
    """What the arrays take, one row each for all splits, summed up by frames and teachers, and over all."""
    parts = [
        _Part(group.split, group.teacher, group.rigs_done, array) for group in summary.groups for array in group.arrays
    ]
    splits = list(summary.manifest.splits)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    table.add_column("array", no_wrap=True)
    for heading in ("type", "rig's shape", *splits, *_total(splits, "total"), "per rig", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for teacher in dict.fromkeys(part.teacher for part in parts):
        arrays = [part for part in parts if part.teacher == teacher]
        table.add_row(_name(teacher), "", "", *_figures(arrays, splits), style="bold")
        for name in dict.fromkeys(part.array.name for part in arrays):
            same = [part for part in arrays if part.array.name == name]
            table.add_row(f"  {name}", same[0].array.dtype, _shape(same), *_figures(same, splits))
    table.add_row("total", "", "", *_figures(parts, splits), style="bold")
    return table


def _shape(parts: Sequence[_Part]) -> str:
    """Of a rig; of the longest where rigs, or splits, are of different lengths."""
    shapes = [part.array.shape[1:] for part in parts]
    differ = parts[0].array.ragged or len(set(shapes)) > 1
    return f"{'≤ ' if differ else ''}{' × '.join(map(str, max(shapes))) or '1'}"


def _figures(parts: Sequence[_Part], splits: Sequence[str]) -> list[str]:
    """Bytes of each split and of all, of a rig, and by how much they are compressed."""
    stored = {split: sum(part.array.bytes_stored for part in parts if part.split == split) for split in splits}
    total = sum(stored.values())
    cells = [size(number) if number else "" for number in (*stored.values(), *_total(splits, total))]
    plain = [(part.array.ratio or 0.0) * part.array.bytes_stored for part in parts]
    ragged = any(part.array.ragged for part in parts)
    return [*cells, size(_per_rig(parts)), "–" if ragged or not total else f"{sum(plain) / total:.1f} ×"]


def _per_rig(parts: Sequence[_Part]) -> float:
    """Bytes of a rig that has all of these arrays."""
    arrays: dict[tuple[str | None, str], list[_Part]] = {}
    for part in parts:
        if part.rigs:
            arrays.setdefault((part.teacher, part.array.name), []).append(part)
    return sum(sum(p.array.bytes_stored for p in same) / sum(p.rigs for p in same) for same in arrays.values())


def _total(splits: Sequence[str], value: T) -> list[T]:
    """A value for the column of the total, which a single split does not need."""
    return [value] if len(splits) > 1 else []
