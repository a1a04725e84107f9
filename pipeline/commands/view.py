"""`fsmde view`: rigs, predictions and point clouds in Rerun."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Device
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal


def command(
    cache: Annotated[str, typer.Option(help="Folder of the cache, or its URL.")] = "zarr",
    run: Annotated[Path | None, typer.Option(help="Training run whose student is shown.")] = None,
    split: Annotated[str, typer.Option(help="Split of the rigs.")] = "val",
    rig: Annotated[
        list[int] | None, typer.Option(min=0, help="Number of a rig; repeatable.  [default: the first ten]")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write a recording (.rrd) instead of opening a viewer.")] = None,
    connect: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send to a viewer that runs, such as rerun+http://host:9876/proxy."),
    ] = None,
    device: Device = None,
) -> None:
    """Show rigs of a cache in Rerun: images, LiDAR, and what the teachers and a student make of them."""
    with one_line_errors():
        from cache_schema import Cache
        from cache_schema.places import require_file
        from pipeline.view import show

        if save is not None:
            require_file(save, "--save", (".rrd",))
        chosen = rig or range(min(10, len(Cache(cache).split(split))))
        console = terminal()
        with ProgressBar(console, "rigs") as progress:
            show(cache, split, run, chosen, device=device or "auto", progress=progress, save=save, connect=connect)
        if save is not None:
            console.print(f"Written to {save}; open it with: rerun {save}", soft_wrap=True)
