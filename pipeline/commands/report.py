"""`fsmde report`: what a run came to, on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Device
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal


def command(
    run: Annotated[Path, typer.Option(help="Training run that was scored.")],
    cache: Annotated[str, typer.Option(help="Cache on which it was scored.")] = "zarr",
    split: Annotated[str, typer.Option(help="Split on which it was scored.")] = "val",
    rig: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Number of a rig to show, beside the two worst; repeatable.  [default: 0]"),
    ] = None,
    device: Device = None,
) -> None:
    """Write report.html, report.md, pictures and a model card of a run that `fsmde evaluate` has scored."""
    with one_line_errors():
        from pipeline.report.run.contents import gather
        from pipeline.report.run.write import LARGEST_BYTES, write_report
        from stages.wording import counted, size

        console = terminal()
        with ProgressBar(console, "rigs") as progress:
            contents = gather(run, cache, split, rig, device or "auto", progress)
        written = write_report(contents)
        if written.page_bytes > LARGEST_BYTES:
            console.print(f"{written.page} is large; with fewer --rig it is lighter.", style="yellow", soft_wrap=True)
        pictures = counted(len(written.pictures), "picture")
        for line in (
            f"Written to {written.page} ({size(written.page_bytes)}), {written.markdown}",
            f"and {pictures} in {written.pictures[0].parent}"
            + ("" if written.card is None else f"; model card: {written.card}"),
        ):
            console.print(line, soft_wrap=True)
