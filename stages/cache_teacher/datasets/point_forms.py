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
    sure: bool = True
    """Whether hardly any place has such coordinates."""


def as_angles(columns: Float[np.ndarray, "point 3"]) -> Iterator[Angles]:
    """The points, where columns can be range, azimuth and elevation or zenith angle, or a cylinder's coordinates."""
    with np.errstate(invalid="ignore"):  # bytes that are no numbers
        numbers = columns.astype(np.float64)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if not len(numbers):
        return
    for unit, turn in TURNS.items():
        yield from _spherical(numbers, unit, turn)
        yield from _cylindrical(numbers, unit, turn)


def _spherical(numbers: Float64[np.ndarray, "point 3"], unit: str, turn: float) -> Iterator[Angles]:
    """As range, azimuth and elevation in any order, and with the angle from the zenith, which is 0 above."""
    slack = ROUNDING * turn
    for order in permutations(("range", "azimuth", "elevation")):
        ranges_m, azimuth, third = (numbers[:, order.index(name)] for name in ("range", "azimuth", "elevation"))
        if ranges_m.min() < 0 or not _is_azimuth(azimuth, turn):
            continue
        readings = {"elevation": third} if np.abs(third).max() <= turn / 4 + slack else {}
        if third.min() >= 0 and third.max() <= turn / 2 + slack:
            readings["zenith"] = turn / 4 - third
        for name, elevation in readings.items():
            phi = elevation * (2 * math.pi / turn)
            points_m = _around(ranges_m * np.cos(phi), azimuth, ranges_m * np.sin(phi), turn)
            called = [name if each == "elevation" else each for each in order]
            words = f"{', '.join(called[:2])} and {called[2]} in {unit}"
            yield Angles(words, unit, points_m, _fills_turn(azimuth, turn))


def _cylindrical(numbers: Float64[np.ndarray, "point 3"], unit: str, turn: float) -> Iterator[Angles]:
    """As the distance from the axis, azimuth and height."""
    flat_m, azimuth, height_m = numbers.T
    if flat_m.min() >= 0 and _is_azimuth(azimuth, turn):
        points_m = _around(flat_m, azimuth, height_m, turn)
        words = f"distance from the axis, azimuth in {unit} and height"
        # What is ahead in a room 2π m wide has such columns, too.
        yield Angles(words, unit, points_m, _fills_turn(azimuth, turn), sure=unit == "degrees")


def _is_azimuth(column: Float64[np.ndarray, "point"], turn: float) -> bool:
    slack = ROUNDING * turn
    return bool(np.abs(column).max() <= turn / 2 + slack or (column.min() >= 0 and column.max() <= turn + slack))


def _fills_turn(azimuth: Float64[np.ndarray, "point"], turn: float) -> bool:
    sectors = np.bincount((azimuth % turn * SECTORS / turn).astype(int) % SECTORS, minlength=SECTORS)
    return bool(np.ptp(azimuth) > turn * (1 - END) and sectors.min() >= LEAST_IN_SECTOR * len(azimuth))


def _around(
    flat_m: Float64[np.ndarray, "point"],
    azimuth: Float64[np.ndarray, "point"],
    height_m: Float64[np.ndarray, "point"],
    turn: float,
) -> Float64[np.ndarray, "point 3"]:
    theta = azimuth * (2 * math.pi / turn)
    return np.stack([flat_m * np.cos(theta), flat_m * np.sin(theta), height_m], axis=1)


def byte_swapped(points_m: Float[np.ndarray, "point 3"]) -> dict[str, Float[np.ndarray, "point 3"]]:
    """The points, had their file the other order of bytes, by the words for it."""
    if points_m.dtype != np.float32:
        return {}
    return {"big-endian float32": np.ascontiguousarray(points_m).byteswap()}


def turned(points_m: Float[np.ndarray, "point 3"]) -> dict[str, Float64[np.ndarray, "point 3"]]:
    """The points in a frame with z up, by how their axes would have to lie."""
    with np.errstate(invalid="ignore"):
        return {words: points_m.astype(np.float64) @ rotation.T for words, rotation in UP.items()}
