"""`fsmde street`: the project's own world, as a dataset in DDAD's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import config
from pipeline.commands.options import Assignments, ConfigFile, DryRun
from pipeline.errors import one_line_errors
from pipeline.progress import ProgressBar
from pipeline.terminal import terminal


def command(
    root: Annotated[Path, typer.Argument(help="Folder of the dataset, which is made.")],
    size: Annotated[str | None, typer.Option(help="small (96 × 160) or large (384 × 640).  [default: small]")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write a picture of some rigs, .jpg or .png.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that render.  [default: one per core]")] = None,
    config_file: ConfigFile = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Generate towns seen by a rig like DDAD's, with LiDAR and dense depth, in DDAD's own format.

    The same settings give the same bytes. Interrupted, it goes on where it stopped: run the same command again.
    """
    with one_line_errors():
        from stages.cache_teacher.datasets.street.generate import execute, plan
        from stages.cache_teacher.datasets.street.sheet import write_sheet
        from stages.cache_teacher.datasets.street.spec import StreetSpec
        from stages.picture_file import require_picture
        from stages.wording import counted

        console = terminal()
        if sheet is not None:
            require_picture(sheet, "--sheet")
        spec = config.build(StreetSpec, config_file, assignments or [], {"size": size})
        made = plan(spec, root, workers)
        for line in made.describe():
            console.print(line, soft_wrap=True)
        if dry_run:
            console.print("Nothing was written. Run without --dry-run to generate the dataset.")
            return
        with ProgressBar(console, "rigs") as progress:
            rigs = execute(made, progress)
        now = f"{counted(rigs, 'rig')} rendered now" if rigs else "nothing to do"
        console.print(f"{now}; {root} is complete.")
        if sheet is not None:
            write_sheet(root, sheet)
            console.print(f"Picture: {sheet}")
        lidar = "" if all(split.lidar for split in spec.splits.values()) else " --without-lidar"
        size_options = f"--height {spec.world.height} --width {spec.world.width}"
        console.print(
            f"Next: fsmde cache-teacher --dataset ddad --root {root} --ego-masks {root / 'masks'} {size_options} "
            f"--teacher street{lidar} --cache {root}-zarr",
            soft_wrap=True,
        )
