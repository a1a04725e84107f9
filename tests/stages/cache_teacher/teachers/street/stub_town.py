"""A world that is rendered in no time: a road that reaches the horizon, coloured by its depth."""

from __future__ import annotations

import numpy as np

from stages.cache_teacher.datasets.street import CAMERAS


def render_stub(town: int, rigs: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and depths as `render_town` gives them: sky above, own car in the lowest row, and a box."""
    random = np.random.default_rng(town)
    count = rigs * len(CAMERAS)
    below_horizon = np.arange(height) + 0.5 - height * 0.4
    depth = np.where(below_horizon > 0, 1.6 * height / np.maximum(below_horizon, 1e-3), np.inf)
    depth_m = np.broadcast_to(depth[:, None], (height, width)).astype(np.float32)
    depth_m = np.stack([depth_m] * count)
    for picture in depth_m:
        left, nearest = random.integers(0, width - width // 4), random.uniform(4, 12)
        box = picture[height // 4 : -height // 4, left : left + width // 4]
        box[:] = np.minimum(box, nearest)
    images = np.nan_to_num(255 / (1 + depth_m / 5))[..., None] * np.array([1.0, 0.8, 0.6])
    depth_m[:, -1] = np.nan
    return images.astype(np.uint8), depth_m
