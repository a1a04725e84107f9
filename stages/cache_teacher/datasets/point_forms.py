"""What else the numbers of a point cloud could be than x, y and z of a frame with z up, little-endian."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

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
CLOSE, BINS, CROWDED, NEAR_M = 0.005, 50, 4.0, 3.0
"""Of a cylinder's coordinates one is as it should be, so that more must tell them from a street: azimuths end closer to
a turn, and no fiftieth of it has four times its share, as walls have, of what is not as near as the car itself."""
INSTEAD = {
    "elevation": "range · cos(elevation) · cos(azimuth), range · cos(elevation) · sin(azimuth), range · sin(elevation)",
    "zenith angle": "range · sin(zenith angle) · cos(azimuth), range · sin(zenith angle) · sin(azimuth), "
    "range · cos(zenith angle)",
    "z": "range · cos(azimuth), range · sin(azimuth), z",
}
"""What x, y and z are of range, azimuth and a third column; with z, ranges are those on the ground."""
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
    instead: str
    """What to write in their place."""
    points_m: Float64[np.ndarray, "point 3"]
    whole_turn: bool
    """Whether the azimuths fill a turn, which coordinates hardly do."""
    lane_too: bool
    """Whether the numbers can be coordinates, too, of a lane that is 2π metres wide."""


def as_angles(columns: Float[np.ndarray, "point 3"]) -> Iterator[Angles]:
    """The points, where columns can be range, azimuth and elevation, zenith angle or z, in some order and unit.

    Degrees and z are numbers that coordinates in metres have too: they count where they fill a turn.
    """
    with np.errstate(invalid="ignore"):  # bytes that are no numbers
        numbers = columns.astype(np.float64)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if not len(numbers):
        return
    for (third, instead), (unit, turn), at in product(INSTEAD.items(), TURNS.items(), permutations(range(3))):
        ranges_m, azimuth, other = (numbers[:, at.index(name)] for name in range(3))
        slack = ROUNDING * turn
        halves = np.abs(azimuth).max() <= turn / 2 + slack or (azimuth.min() >= 0 and azimuth.max() <= turn + slack)
        if ranges_m.min() < 0 or not halves:
            continue
        placed = _flat_and_height(third, ranges_m, other, turn)
        whole_turn = _fills(azimuth, turn) and (third != "z" or _spins(ranges_m, azimuth, turn))
        if placed is None or not (whole_turn or (unit == "radians" and third != "z")):
            continue
        theta = azimuth * (2 * math.pi / turn)
        names = [("range", "azimuth", third)[name] for name in at]
        yield Angles(
            words=f"{', '.join(names[:2])} and {names[2]} in {unit}{' and metres' if third == 'z' else ''}",
            instead=instead,
            points_m=np.stack([placed[0] * np.cos(theta), placed[0] * np.sin(theta), placed[1]], axis=1),
            whole_turn=whole_turn,
            lane_too=third == "z" and unit == "radians",
        )


def _flat_and_height(
    third: str, ranges_m: Float64[np.ndarray, "point"], other: Float64[np.ndarray, "point"], turn: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """How far points are along the ground and above it, in metres; None where the third column cannot be what it is."""
    if third == "z":
        return ranges_m, other
    low, high = (-turn / 4, turn / 4) if third == "elevation" else (0, turn / 2)
    slack = ROUNDING * turn
    if other.min() < low - slack or other.max() > high + slack:
        return None
    elevation = (other if third == "elevation" else turn / 4 - other) * (2 * math.pi / turn)
    return ranges_m * np.cos(elevation), ranges_m * np.sin(elevation)


def _fills(azimuth: Float64[np.ndarray, "point"], turn: float) -> bool:
    sectors = np.bincount((azimuth % turn * SECTORS / turn).astype(int) % SECTORS, minlength=SECTORS)
    return bool(np.ptp(azimuth) > turn * (1 - END) and sectors.min() >= LEAST_IN_SECTOR * len(azimuth))


def _spins(ranges_m: Float64[np.ndarray, "point"], azimuth: Float64[np.ndarray, "point"], turn: float) -> bool:
    """Whether azimuths are spread as only a LiDAR that turns spreads them."""
    far = azimuth[ranges_m > NEAR_M]
    if not len(far):
        return False
    shares = np.bincount((far % turn * BINS / turn).astype(int) % BINS, minlength=BINS) / len(far)
    return bool(np.ptp(far) > turn * (1 - CLOSE) and shares.max() < CROWDED / BINS)


def byte_swapped(points_m: Float[np.ndarray, "point 3"]) -> dict[str, Float[np.ndarray, "point 3"]]:
    """The points, had their file the other order of bytes, by the words for it."""
    if points_m.dtype != np.float32:
        return {}
    return {"big-endian float32": np.ascontiguousarray(points_m).byteswap()}


def turned(points_m: Float[np.ndarray, "point 3"]) -> dict[str, Float64[np.ndarray, "point 3"]]:
    """The points in a frame with z up, by how their axes would have to lie."""
    with np.errstate(invalid="ignore"):
        return {words: points_m.astype(np.float64) @ rotation.T for words, rotation in UP.items()}
