"""The roads of a town: straight pieces and arcs, and where a point is between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.vectors import picked

_FAR = 1e4


@dataclass(frozen=True)
class Piece:
    """A part of a road's centre line: straight where the curvature is 0, else an arc (positive: to the left)."""

    x: float
    y: float
    heading: float
    length: float
    curvature: float
    start: float
    """Way along the road at which the piece begins."""

    def at(self, s: float) -> tuple[float, float, float]:
        """Position and heading at way s along the road."""
        way = s - self.start
        if self.curvature == 0:
            return self.x + way * np.cos(self.heading), self.y + way * np.sin(self.heading), self.heading
        heading = self.heading + way * self.curvature
        x = self.x + (np.sin(heading) - np.sin(self.heading)) / self.curvature
        y = self.y - (np.cos(heading) - np.cos(self.heading)) / self.curvature
        return x, y, heading


@dataclass(frozen=True)
class Road:
    """A street: its centre line, and half the width of its carriageway in metres."""

    pieces: tuple[Piece, ...]
    half_width: float
    pavement: float
    """Width of the pavement on each side."""
    marked: bool
    """Whether it has a line in its middle."""
    parking: bool
    """Whether cars park along its kerbs."""

    @property
    def start(self) -> float:
        """Way at which the road begins."""
        return self.pieces[0].start

    @property
    def end(self) -> float:
        """Way at which the road ends."""
        return self.pieces[-1].start + self.pieces[-1].length

    def at(self, s: float, left: float = 0.0) -> tuple[float, float, float]:
        """Position and heading at way s, some metres to the left of the centre."""
        piece = next((piece for piece in self.pieces if s < piece.start + piece.length), self.pieces[-1])
        x, y, heading = piece.at(s)
        return x - left * np.sin(heading), y + left * np.cos(heading), heading


def road(
    x: float, y: float, heading: float, bends: Sequence[tuple[float, float]], start: float, **properties: object
) -> Road:
    """A road through (x, y) at way 0, from way `start`, made of (length, curvature) pieces; the first is straight."""
    pieces = []
    px, py = x + start * np.cos(heading), y + start * np.sin(heading)
    s = start
    for length, curvature in bends:
        piece = Piece(float(px), float(py), float(heading), float(length), float(curvature), float(s))
        pieces.append(piece)
        s += length
        px, py, heading = piece.at(s)
    return Road(tuple(pieces), **properties)  # type: ignore[arg-type]


@dataclass(frozen=True)
class OnRoads:
    """Where points are: see `locate`."""

    beside: Tensor
    """Metres from the edge of the nearest carriageway; negative on it."""
    road: Tensor
    """Index of that road."""
    along: Tensor
    left: Tensor
    others: Tensor
    """Metres from the edge of the second nearest one: negative on a crossing."""

    def at(self, which: Tensor) -> OnRoads:
        """The points with those numbers."""
        return OnRoads(*(picked(each, which) for each in vars(self).values()))


def locate(roads: Sequence[Road], x: Tensor, y: Tensor) -> OnRoads:
    """Where points (N,) lie between the roads."""
    pieces = _pieces(tuple(roads)).to(x)
    along, left, edge = pieces.coordinates(x, y)
    beside, others = torch.full_like(x, _FAR), torch.full_like(x, _FAR)
    for each in torch.split(edge, [len(road.pieces) for road in roads]):
        nearest = each.amin(dim=0)
        others = torch.minimum(others, torch.maximum(beside, nearest))
        beside = torch.minimum(beside, nearest)
    piece = torch.zeros_like(x, dtype=torch.int64)
    for number in range(1, len(edge)):
        piece = torch.where(edge[number] == beside, number, piece)
    along, left = (each.gather(0, piece[None])[0] for each in (along, left))
    return OnRoads(beside, picked(pieces.road, piece), along, left, others)


def beside_roads(roads: Sequence[Road], x: Tensor, y: Tensor) -> Tensor:
    """Metres (N,) from the edge of the nearest carriageway to points (N,); negative on it."""
    return _pieces(tuple(roads)).to(x).coordinates(x, y)[2].amin(dim=0).clamp(max=_FAR)


@dataclass(frozen=True)
class _Pieces:
    """The K pieces of some roads in one table: points are compared with all of them at once."""

    numbers: Tensor
    """(9, K, 1): x, y, cosine and sine of the heading, length, start, half width, radius, side (1: to the left)."""
    arcs: Tensor
    """Indices (A,) of those that are not straight."""
    road: Tensor
    """(K,) index of the road of each."""

    def to(self, like: Tensor) -> _Pieces:
        """On the device of a tensor, and in its precision."""
        return _Pieces(self.numbers.to(like), self.arcs.to(like.device), self.road.to(like.device))

    def coordinates(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Way along the road, distance to the left of its centre, and from its edge, of points (N,): (K, N) each.

        Where a piece does not reach, the distances grow by four times what is missing.
        """
        px, py, cosine, sine, length, start, half_width, radius, side = self.numbers.unbind()
        dx, dy = x - px, y - py
        along, left = dx * cosine + dy * sine, dy * cosine - dx * sine
        if len(self.arcs):
            r, s = radius[self.arcs], side[self.arcs]
            ahead, inner = along[self.arcs], (r - left[self.arcs]) * s
            along[self.arcs] = torch.atan2(ahead, inner) * r.abs()
            left[self.arcs] = r - s * torch.hypot(ahead, inner)
        beyond = torch.maximum(-along, along - length).clamp(min=0)
        left = left + left.sign() * (4 * beyond)
        return along + start, left, left.abs() - half_width


@lru_cache(maxsize=64)
def _pieces(roads: tuple[Road, ...]) -> _Pieces:
    rows, of = [], []
    for number, each in enumerate(roads):
        for piece in each.pieces:
            radius = 1 / piece.curvature if piece.curvature else np.inf
            start = (piece.x, piece.y, np.cos(piece.heading), np.sin(piece.heading))
            rows.append((*start, piece.length, piece.start, each.half_width, radius, np.sign(radius)))
            of.append(number)
    numbers = torch.tensor(rows, dtype=torch.float64).T[:, :, None]
    return _Pieces(numbers, torch.nonzero(numbers[7, :, 0].isfinite())[:, 0], torch.tensor(of))
