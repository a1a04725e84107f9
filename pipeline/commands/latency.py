"""`fsmde latency`: teacher and student side by side on the device at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Device
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal


def command(
    run: Annotated[Path, typer.Option(help="Training run whose student is timed.")],
    cache: Annotated[str, typer.Option(help="Cache whose first rig they look at.")] = "zarr",
    teacher: Annotated[
        str | None, typer.Option(help="Teacher by its name in the cache, hub id or folder.  [default: the cache's]")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the rig.")] = "val",
    threads: Annotated[int | None, typer.Option(min=1, max=4096, help="CPU threads.  [default: all cores]")] = None,
    device: Device = None,
) -> None:
    """Time a teacher and a student on one rig, taking turns, and say what each needs for it."""
    with one_line_errors():
        import torch

        from cache_schema.durable import write_atomic
        from cache_schema.places import require_writable
        from pipeline.latency import LATENCY, measure_latency, teacher_of
        from stages.evaluate.plan import trained_student

        trained_student(run, cache)
        require_writable(run, "--run")
        if threads is not None:
            torch.set_num_threads(threads)
        console = terminal()
        settings = teacher_of(cache, teacher)
        with ProgressBar(console, "turns") as progress:
            found = measure_latency(cache, split, settings, run / "student", device or "auto", progress)
        write_atomic(run / LATENCY, found.model_dump_json(indent=2) + "\n")
        lines = (
            f"{found.views} views of {found.image_size[1]} × {found.image_size[0]} pixels, on {found.measured_on}",
            f"teacher  {found.teacher_id}: {found.teacher.in_words}",
            f"student  {run}: {found.student.in_words}",
            f"The student is {found.in_words}.",
            f"Written to {run / LATENCY}",
        )
        for line in lines:
            console.print(line, soft_wrap=True)
