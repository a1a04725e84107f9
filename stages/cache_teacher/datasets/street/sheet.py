"""A picture of a dataset: the first rig of some of its scenes, each with its dense depth below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps

from cache_schema import RigFrames
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.picture_file import write_picture

NEAREST_M, FARTHEST_M = 2.0, 100.0
LEFT_TO_RIGHT = (2, 1, 0, 5, 4, 3)
"""Back left, front left, front, front right, back right, back."""


def write_sheet(root: Path, file: Path, scenes: int = 6) -> None:
    """Write a picture of scenes spread over the training split, one row for each.

    Raises ConfigError as `require_picture` does, DatasetError where the dataset cannot be read.
    """
    dataset = DdadDataset(root)
    firsts = list({ref.scene: ref for ref in reversed(dataset.samples("train"))}.values())[::-1]
    chosen = np.linspace(0, len(firsts) - 1, min(scenes, len(firsts))).astype(int)
    rows = [_row(dataset.load("train", firsts[i])) for i in chosen]
    write_picture(file, np.concatenate(rows))


def _row(rig: RigFrames) -> UInt8[np.ndarray, "h w 3"]:
    pictures = np.concatenate([rig.images[view] for view in LEFT_TO_RIGHT], axis=1)
    if rig.dense_depth_m is None:
        return pictures
    depth = np.concatenate([rig.dense_depth_m[view] for view in LEFT_TO_RIGHT], axis=1)
    return np.concatenate([pictures, _coloured(depth)])


def _coloured(depth_m: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Depth on a logarithmic scale, near bright; black where there is none."""
    known = depth_m > 0
    position = np.log(np.where(known, depth_m, FARTHEST_M) / NEAREST_M) / np.log(FARTHEST_M / NEAREST_M)
    colours = colormaps["magma_r"](np.clip(position, 0, 1))[..., :3]
    return np.where(known[..., None], np.rint(255 * colours), 0).astype(np.uint8)
