"""Run all measurements, or those named, on the real frames of FSMDE_REAL_DATA, and print a table for each."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from cache_schema import RigFrames
from stages.cache_teacher.datasets.ddad import DdadDataset
from tests.bench import encodings, evaluation, images, overhead, planning, reading, samples


def main() -> None:
    data = os.environ.get("FSMDE_REAL_DATA")
    if not data:
        sys.exit("make bench needs real frames: set FSMDE_REAL_DATA to the folder that holds ddad_sample")
    dataset = DdadDataset(Path(data, "ddad_sample"))
    console = Console(width=120)
    rigs: list[RigFrames] = [dataset.load("train", ref) for ref in dataset.samples("train")]
    with tempfile.TemporaryDirectory() as folder:
        measurements = {
            "reading": lambda _: reading.table(dataset),
            "images": lambda path: images.table(rigs, path),
            "samples": lambda path: samples.table(rigs, path),
            "encodings": lambda path: encodings.table(rigs, path),
            "planning": planning.table,
            "evaluation": lambda path: evaluation.table(rigs, path),
            "overhead": lambda path: overhead.table(dataset, path),
        }
        for name in sys.argv[1:] or measurements:
            path = Path(folder) / name
            path.mkdir()
            console.print(measurements[name](path))


if __name__ == "__main__":
    main()
