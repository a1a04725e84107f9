"""Run all measurements on the real frames that FSMDE_REAL_DATA names, and print a table for each."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from cache_schema import RigFrames
from stages.cache_teacher.datasets.ddad import DdadDataset
from tests.bench import encodings, images, reading


def main() -> None:
    data = os.environ.get("FSMDE_REAL_DATA")
    if not data:
        sys.exit("make bench needs real frames: set FSMDE_REAL_DATA to the folder that holds ddad_sample")
    dataset = DdadDataset(Path(data, "ddad_sample"), on_missing="skip")
    console = Console(width=100)
    console.print(reading.table(dataset))
    rigs: list[RigFrames] = [dataset.load("train", ref) for ref in dataset.samples("train")]
    with tempfile.TemporaryDirectory() as folder:
        console.print(images.table(rigs, Path(folder)))
        console.print(encodings.table(rigs, Path(folder)))


if __name__ == "__main__":
    main()
