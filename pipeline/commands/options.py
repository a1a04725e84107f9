"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any setting by its dotted key, as KEY=VALUE; repeatable, of one key the last counts.",
    ),
]
CacheFolder = Annotated[
    str | None, typer.Option("--cache", help="Folder of the cache, or a URL such as s3://bucket/zarr.  [default: zarr]")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps …  [default: the best there is]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
