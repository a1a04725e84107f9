"""Parts of an image that are scored by themselves: by depth, and near its border or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64

from stages.evaluate.protocol import Protocol

BORDER, CENTRE = "border", "centre"
DEPTH: Literal["depth"] = "depth"
PLACE: Literal["place"] = "place"


def depth_range(low: int | float, high: int | float) -> str:
    """What a range of depths is called, such as `10-30m`."""
    return f"{low:g}-{high:g}m"


def regions_of(protocol: Protocol) -> dict[str, Literal["depth", "place"]]:
    """Names of a protocol's regions, and of what kind each is: `depth` or `place`."""
    low, high = protocol.range_m
    depths = [depth_range(*each) for each in protocol.depth_ranges_m if each[0] < high and each[1] > low]
    return {**dict.fromkeys(depths, DEPTH), BORDER: PLACE, CENTRE: PLACE}


def region_members(
    xy_px: Sequence[Float64[np.ndarray, "_ 2"]],
    depth_m: Sequence[Float[np.ndarray, "_"]],
    protocol: Protocol,
    native_size: tuple[int, int],
) -> dict[str, tuple[Bool[np.ndarray, "_"], ...]]:
    """Which points of every view lie in each region; points (x right, y down) of native images (H, W)."""
    names = regions_of(protocol)
    members = {
        depth_range(low, high): tuple((depth > low) & (depth <= high) for depth in depth_m)
        for low, high in protocol.depth_ranges_m
    }
    members[BORDER] = tuple(_near_border(xy, native_size, protocol.border) for xy in xy_px)
    members[CENTRE] = tuple(~border for border in members[BORDER])
    return {name: members[name] for name in names}


def _near_border(
    xy_px: Float64[np.ndarray, "point 2"], native_size: tuple[int, int], share: float
) -> Bool[np.ndarray, "point"]:
    position = xy_px / native_size[::-1]
    return np.asarray((np.minimum(position, 1 - position) < share).any(axis=1))
