"""The ring of cameras around a car: their order, and which of them are neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

TOUCH_DEG = 2.0
"""Fields of view that miss each other by no more than this still count as touching."""


@dataclass(frozen=True)
class Ring:
    """Camera names counter-clockwise seen from above, and the index pairs of successive overlapping views."""

    cameras: tuple[str, ...]
    adjacent_pairs: tuple[tuple[int, int], ...]


def ring_from_calibration(
    rig_from_camera: Mapping[str, Float64[np.ndarray, "4 4"]],
    intrinsics_px: Mapping[str, Float32[np.ndarray, "3 3"]],
) -> Ring:
    """Order cameras by the azimuth of their optical axis in the rig frame, from the one nearest to +x.

    Successive cameras are adjacent where their horizontal fields of view overlap or touch within TOUCH_DEG.
    A field of view is taken as symmetric with half angle atan(cx/fx), for a calibration does not tell the
    image's width.
    """
    azimuth = {name: _azimuth_deg(matrix) for name, matrix in rig_from_camera.items()}
    front = min(azimuth, key=lambda name: (abs(azimuth[name]), name))
    cameras = tuple(sorted(azimuth, key=lambda name: ((azimuth[name] - azimuth[front]) % 360.0, name)))
    count = len(cameras)
    successive = [(i, (i + 1) % count) for i in range(count if count > 2 else count - 1)]
    half_view = [_half_view_deg(intrinsics_px[name]) for name in cameras]
    pairs = tuple(
        (i, j)
        for i, j in successive
        if _turn_deg(azimuth[cameras[i]], azimuth[cameras[j]]) <= half_view[i] + half_view[j] + TOUCH_DEG
    )
    return Ring(cameras, pairs)


def same_order(ring: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two rings turn through the cameras they share in the same cyclic order."""
    shared = [name for name in ring if name in other]
    found = [name for name in other if name in ring]
    start = found.index(shared[0]) if shared else 0
    return found[start:] + found[:start] == shared


def _azimuth_deg(rig_from_camera: Float64[np.ndarray, "4 4"]) -> float:
    x, y = rig_from_camera[:2, 2]
    return float(np.degrees(np.arctan2(y, x)))


def _half_view_deg(intrinsics_px: Float32[np.ndarray, "3 3"]) -> float:
    return float(np.degrees(np.arctan2(intrinsics_px[0, 2], intrinsics_px[0, 0])))


def _turn_deg(azimuth_a: float, azimuth_b: float) -> float:
    """The smaller angle between two azimuths."""
    return abs((azimuth_a - azimuth_b + 180.0) % 360.0 - 180.0)
