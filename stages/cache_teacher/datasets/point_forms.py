"""What else the numbers of a point cloud could be than x, y and z of a frame with z up, little-endian."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Float, Float64

TURNS = {"radians": 2 * math.pi, "degrees": 360.0}
"""A whole turn."""
ROUNDING = 1e-3
"""By this part of a turn angles may be beyond it."""
SECTORS, LEAST_IN_SECTOR = 8, 0.01
"""A LiDAR that turns leaves none of so many sectors with less than this share of its points."""
END = 0.02
"""Nor does it end before this part of a turn."""
UP = {
    "y up": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "y down (a camera's frame)": np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "z down": np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
}
"""Rotations to a frame with z up, by how the axes of the points may lie."""


@dataclass(frozen=True)
class Angles:
    """Points as ranges and angles."""

    words: str
    unit: str
    """Of the angles; degrees are numbers that coordinates in metres have too, radians hardly."""
    points_m: Float64[np.ndarray, "point 3"]
    whole_turn: bool
    """Whether the azimuths fill a turn, which coordinates hardly do."""


def as_angles(columns: Float[np.ndarray, "point 3"]) -> Iterator[Angles]:
    """The points, where columns can be range, azimuth and elevation in some order and unit."""
    with np.errstate(invalid="ignore"):  # bytes that are no numbers
        numbers = columns.astype(np.float64)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if not len(numbers):
        return
    for unit, turn in TURNS.items():
        for order in permutations(("range", "azimuth", "elevation")):
            ranges_m, azimuth, elevation = (numbers[:, order.index(name)] for name in ("range", "azimuth", "elevation"))
            slack = ROUNDING * turn
            halves = np.abs(azimuth).max() <= turn / 2 + slack or (azimuth.min() >= 0 and azimuth.max() <= turn + slack)
            if ranges_m.min() < 0 or not halves or np.abs(elevation).max() > turn / 4 + slack:
                continue
            theta, phi = azimuth * (2 * math.pi / turn), elevation * (2 * math.pi / turn)
            flat_m = ranges_m * np.cos(phi)
            points_m = np.stack([flat_m * np.cos(theta), flat_m * np.sin(theta), ranges_m * np.sin(phi)], axis=1)
            sectors = np.bincount((azimuth % turn * SECTORS / turn).astype(int) % SECTORS, minlength=SECTORS)
            to_the_ends = np.ptp(azimuth) > turn * (1 - END)
            whole_turn = bool(to_the_ends and sectors.min() >= LEAST_IN_SECTOR * len(numbers))
            yield Angles(f"{', '.join(order[:2])} and {order[2]} in {unit}", unit, points_m, whole_turn)


def byte_swapped(points_m: Float[np.ndarray, "point 3"]) -> dict[str, Float[np.ndarray, "point 3"]]:
    """The points, had their file the other order of bytes, by the words for it."""
    if points_m.dtype != np.float32:
        return {}
    return {"big-endian float32": np.ascontiguousarray(points_m).byteswap()}


def turned(points_m: Float[np.ndarray, "point 3"]) -> dict[str, Float64[np.ndarray, "point 3"]]:
    """The points in a frame with z up, by how their axes would have to lie."""
    with np.errstate(invalid="ignore"):
        return {words: points_m.astype(np.float64) @ rotation.T for words, rotation in UP.items()}
