"""Rigs between keyframes: of every camera the image that was taken most nearly at the time of the first camera's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int, Int64


def nearest_in_time(
    times_us: Sequence[Int64[np.ndarray, "_"]],
) -> Iterator[tuple[Int[np.ndarray, "camera"], int, bool]]:
    """For each image of the first camera the nearest of every camera, how far apart they are, and whether one repeats.

    `times_us` are the times of each camera's images in microseconds, ascending, at least one. Told are an index for
    each camera, the time from the first to the last of these images, and whether any of them belongs to the first
    camera's image before too, as where a camera has dropped one.
    """
    chosen = np.stack([_nearest(each, times_us[0]) for each in times_us], axis=1)
    at_us = np.stack([each[of_each] for each, of_each in zip(times_us, chosen.T, strict=True)], axis=1)
    again = np.zeros(len(chosen), bool)
    again[1:] = (chosen[1:] == chosen[:-1]).any(axis=1)
    for indices, spread_us, twice in zip(chosen, np.ptp(at_us, axis=1), again, strict=True):
        yield indices, int(spread_us), bool(twice)


def _nearest(times_us: Int64[np.ndarray, "image"], wanted_us: Int64[np.ndarray, "wanted"]) -> Int[np.ndarray, "wanted"]:
    later = np.searchsorted(times_us, wanted_us).clip(1, max(len(times_us) - 1, 1))
    earlier = later - 1
    later = later.clip(max=len(times_us) - 1)
    nearest: np.ndarray = np.where(wanted_us - times_us[earlier] <= times_us[later] - wanted_us, earlier, later)
    return nearest
