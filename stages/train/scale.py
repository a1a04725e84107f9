"""Whether a cache has LiDAR points that a student can learn its scale from, before training begins."""

from __future__ import annotations

import numpy as np
import torch

from cache_schema.errors import TrainingError
from stages.train.loader import RigDataset
from stages.train.student import StudentConfig
from stages.train.targets import usable_points
from stages.wording import counted

PROBES = 8
"""Rigs that are looked at."""


def refuse_unusable_points(rigs: RigDataset, student: StudentConfig, where: str) -> None:
    """Raise TrainingError where of up to eight rigs, spread over a split, none has a LiDAR point that teaches.

    Such a point lies outside the ego vehicle, and between d_min_m and d_max_m.
    """
    probes = dict.fromkeys(np.linspace(0, len(rigs) - 1, PROBES).astype(int).tolist())
    found_m = [rigs[index].lidar_depth_m for index in probes]
    if any(usable_points(depth_m, student).any() for depth_m in found_m):
        return
    depth_m = torch.cat([depth_m[depth_m > 0] for depth_m in found_m])
    beyond = f"; those that are lie {depth_m.min():.3g} to {depth_m.max():.3g} m away" if len(depth_m) else ""
    raise TrainingError(
        f"{where}: in {counted(len(probes), 'rig')} no LiDAR point off the ego vehicle is {student.d_min_m:g} to "
        f"{student.d_max_m:g} m away (student.d_min_m, d_max_m){beyond}; expected some, which teach the scale: are "
        "points in metres, and the ego masks right? Mend the data and cache it anew"
    )
