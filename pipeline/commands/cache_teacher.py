"""`fsmde cache-teacher`: stage 1."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline import config
from pipeline.commands.options import Assignments, CacheFolder, ConfigFile, Device, DryRun
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal
from pipeline.version import code_version
from stages.wording import counted, size

if TYPE_CHECKING:
    from stages.cache_teacher.config import CacheTeacherConfig


def command(
    dataset: Annotated[str | None, typer.Option(help="Format of the raw data: ddad, nuscenes or folder.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the raw data.")] = None,
    version: Annotated[
        str | None, typer.Option(help="nuScenes: folder of its tables.  [default: the only one there]")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Hub id of a depth model, or a folder written by save_pretrained.")
    ] = None,
    cache: CacheFolder = None,
    split: Annotated[list[str] | None, typer.Option(help="Split to cache; repeatable.  [default: all]")] = None,
    teacher_name: Annotated[str | None, typer.Option(help="Name of the teacher in the cache.")] = None,
    teacher_kind: Annotated[
        str | None, typer.Option(help="disparity_affine_invariant, depth_metric or bins, where it cannot be told.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit or tag of the teacher on the hub.")] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Also look at mirrored frames.  [default: flip]")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="moments, topk or dense.  [default: by the teacher]")] = None,
    height: Annotated[
        int | None, typer.Option(help="Height of the stored images.  [default: 384; nuScenes 352]")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Width of the stored images.  [default: 640]")] = None,
    image_encoding: Annotated[str | None, typer.Option(help="jpeg or raw.  [default: jpeg]")] = None,
    jpeg_quality: Annotated[int | None, typer.Option(help="1 to 100.  [default: 95]")] = None,
    ego_masks: Annotated[Path | None, typer.Option(help="Folder of ego-vehicle masks in VFDepth's layout.")] = None,
    on_missing: Annotated[
        str | None, typer.Option(help="skip or fail: samples that lack a sensor or a file.  [default: skip]")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Sample to leave out, as scene/sample, or a whole scene; repeatable.")
    ] = None,
    skip_file: Annotated[Path | None, typer.Option(help="Text file of samples to leave out, one a line.")] = None,
    check_files: Annotated[
        bool, typer.Option("--check-files", help="Read every raw file first, and name all that are damaged.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first rigs of every split.")] = None,
    shard_rigs: Annotated[int | None, typer.Option(help="Rigs in one shard.  [default: 16]")] = None,
    frames: Annotated[
        str | None, typer.Option(help="nuScenes: keyframes, or sweeps: what lies between them.  [default: keyframes]")
    ] = None,
    static_below: Annotated[
        float | None, typer.Option(help="nuScenes: leave out frames to train from that the car moved less for, in m.")
    ] = None,
    tokens: Annotated[Path | None, typer.Option(help="nuScenes: text file of the sample tokens to use.")] = None,
    sweeps: Annotated[
        int | None, typer.Option(help="nuScenes: LiDAR sweeps put together to train from.  [default: 1]")
    ] = None,
    lidar_points: Annotated[int | None, typer.Option(help="Room for LiDAR points per rig, over all cameras.")] = None,
    lidar: Annotated[
        bool | None,
        typer.Option(
            "--with-lidar/--without-lidar", help="Without: rigs that only the teacher labels.  [default: with]"
        ),
    ] = None,
    dense_depth: Annotated[
        bool | None,
        typer.Option("--dense-depth/--no-dense-depth", help="Store dense depth.  [default: where the data has it]"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes to share the work, one per GPU where there are any.  [default: none]"),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A running Dask cluster that does the work, such as tcp://host:8786.")
    ] = None,
    device: Device = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16, of the teacher.  [default: float32]")
    ] = None,
    config_file: ConfigFile = None,
    assignments: Assignments = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Erase what the cache holds under the same name with other settings.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Run the teacher once over every frame and write what it knew, with the frames, to the cache.

    Interrupted, it goes on where it stopped: run the same command again.
    """
    options = {
        "dataset": dataset,
        "root": root,
        "nuscenes.version": version,
        "nuscenes.frames": frames,
        "nuscenes.static_below_m": static_below,
        "nuscenes.tokens": tokens,
        "nuscenes.sweeps": sweeps,
        "cache": cache,
        "splits": split or None,
        "teacher.id": teacher,
        "teacher.name": teacher_name,
        "teacher.kind": teacher_kind,
        "teacher.revision": revision,
        "teacher.flip": flip,
        "teacher.precision": precision,
        "targets.encoding": encoding,
        "image.height": height,
        "image.width": width,
        "image.encoding": image_encoding,
        "image.jpeg_quality": jpeg_quality,
        "ego_masks": ego_masks,
        "on_missing": on_missing,
        "skip": skip or None,
        "skip_file": skip_file,
        "limit": limit,
        "shard_rigs": shard_rigs,
        "lidar_points": lidar_points,
        "lidar": lidar,
        "dense_depth": dense_depth,
        "workers": workers,
        "scheduler": scheduler,
        "overwrite": overwrite or None,
        "device": device,
    }
    with one_line_errors():
        run(config_file, assignments or [], options, check=check_files, dry_run=dry_run)


def run(
    config_file: Path | None, assignments: list[str], options: Mapping[str, object], *, check: bool, dry_run: bool
) -> None:
    """Carry the verb out. Heavy imports happen here, so that `--help` answers at once."""
    from stages.cache_teacher.config import CacheTeacherConfig
    from stages.cache_teacher.unusable import UnusableSamplesError

    settings = config.build(CacheTeacherConfig, config_file, assignments, options)
    try:
        _cache(settings, check=check, dry_run=dry_run)
    except UnusableSamplesError as error:
        raise error.listed(settings.cache) from error


def _cache(settings: CacheTeacherConfig, *, check: bool, dry_run: bool) -> None:
    from stages.cache_teacher.check_files import check_files
    from stages.cache_teacher.estimate import estimate
    from stages.cache_teacher.execute import execute
    from stages.cache_teacher.plan import plan

    console = terminal()
    made = plan(settings)
    for line in made.describe():
        console.print(line, soft_wrap=True)
    with ProgressBar(console, "rigs") as progress:
        if check:
            check_files(made, progress)
        if dry_run:
            sizes = estimate(made, progress, code_version=code_version())
        else:
            result = execute(made, progress, code_version=code_version())
    if dry_run:
        console.print(_size_table(sizes, made.rigs))
        console.print("Nothing was written. Run without --dry-run to write the cache.")
        return
    splits = ", ".join(split.name for split in made.splits)
    now = f"{counted(result.rigs, 'rig')} cached now ({size(result.bytes)})" if result.rigs else "nothing to do"
    console.print(f"{now}; {settings.cache} is complete for {splits}.")
    console.print(f"Next: {_next(settings.cache, lidar=settings.lidar)}", soft_wrap=True)


def _next(cache: str, *, lidar: bool) -> str:
    """The command that this cache is for: training, or evaluation where it has nothing to train from."""
    from cache_schema import Cache

    splits, cache, run = tuple(Cache(cache).manifest.splits), shlex.quote(cache), _free_run()
    if not lidar:
        return f"fsmde train --cache CACHE --unlabelled {cache} --run {run}"
    if "train" in splits:
        return f"fsmde train --cache {cache} --run {run}"
    if "val" in splits:
        return f"fsmde evaluate --cache {cache} --run RUN"
    return f"fsmde train --cache {cache} --run {run} --split {splits[0]}"


def _free_run() -> str:
    """A place for a run, that there is nothing at."""
    names = chain(["runs/first"], (f"runs/first-{number}" for number in count(2)))
    return next(name for name in names if not os.path.lexists(name))


def _size_table(sizes: dict[str, float], rigs: int) -> Table:
    table = Table(title="Predicted size, from a few rigs encoded just now")
    for column, justify in (("array", "left"), ("per rig", "right"), (f"for {counted(rigs, 'rig')}", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, predicted in [*sizes.items(), ("all", sum(sizes.values()))]:
        table.add_row(name, size(predicted / rigs), size(predicted))
    return table
