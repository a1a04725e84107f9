"""Reading raw DDAD: what the reader costs beyond decoding the images and loading the points."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from rich.table import Table

from stages.cache_teacher.datasets.ddad import DdadDataset
from tests.bench.measure import fastest_ms


def table(dataset: DdadDataset) -> Table:
    ref = dataset.samples("train")[0]
    files = dataset.load("train", ref).image_files
    sweep = next((dataset.root / ref.scene / "point_cloud" / "LIDAR").glob("*.npz"))

    def bare() -> list[np.ndarray]:
        with np.load(sweep) as points:
            images = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
            return [*images, points["data"]]

    floor, whole = fastest_ms(bare), fastest_ms(lambda: dataset.load("train", ref))
    shown = Table("raw DDAD, one rig", "ms", "ratio", title="Reading raw data")
    shown.add_row("decode six JPEGs, load the points", f"{floor:.1f}", "1")
    shown.add_row("the reader: also project the points into six cameras", f"{whole:.1f}", f"{whole / floor:.2f}")
    return shown
