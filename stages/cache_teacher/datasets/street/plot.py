"""Rectangles on the map, and whether something may be built there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stages.cache_teacher.datasets.street.roads import Road, beside_roads


@dataclass(frozen=True)
class Plot:
    """A rectangle: its middle, heading and half lengths in metres."""

    x: float
    y: float
    heading: float
    half_along: float
    half_across: float

    def points(self, steps: int = 4) -> np.ndarray:
        """Points that cover it, (n, 2)."""
        a = np.linspace(-self.half_along, self.half_along, steps)
        b = np.linspace(-self.half_across, self.half_across, steps)
        along, across = np.tile(a, steps), np.repeat(b, steps)
        c, s = np.cos(self.heading), np.sin(self.heading)
        return np.stack([self.x + c * along - s * across, self.y + s * along + c * across], axis=1)

    def holds(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Which of the points (n, 2) lie in it."""
        dx, dy = points[:, 0] - self.x, points[:, 1] - self.y
        c, s = np.cos(self.heading), np.sin(self.heading)
        inside = np.abs(c * dx + s * dy) <= self.half_along + margin
        return np.asarray(inside & (np.abs(c * dy - s * dx) <= self.half_across + margin))

    def touches(self, other: Plot) -> bool:
        """Whether two plots overlap, up to the spacing of the points that are tried."""
        far = np.hypot(self.x - other.x, self.y - other.y)
        reach = np.hypot(self.half_along, self.half_across) + np.hypot(other.half_along, other.half_across)
        return bool(far < reach and (self.holds(other.points(5)).any() or other.holds(self.points(5)).any()))


def clear_of_roads(roads: Sequence[Road], points: np.ndarray, margin: float) -> bool:
    """Whether all points (n, 2) are further than `margin` metres from every carriageway."""
    x, y = torch.from_numpy(np.ascontiguousarray(points.T))
    return float(beside_roads(roads, x, y).amin()) > margin
