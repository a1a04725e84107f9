"""The roads of a town: straight pieces and arcs, and where a point is between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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

    def coordinates(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Way along the road, distance to the left of its centre, and how far before or behind the piece."""
        dx, dy = x - self.x, y - self.y
        c, s = float(np.cos(self.heading)), float(np.sin(self.heading))
        along, left = dx * c + dy * s, dy * c - dx * s
        if self.curvature != 0:
            radius = 1 / self.curvature
            side = float(np.sign(radius))
            inner = (radius - left) * side
            along, left = torch.atan2(along, inner) * abs(radius), radius - side * torch.hypot(along, inner)
        beyond = torch.maximum(-along, along - self.length).clamp(min=0)
        return along + self.start, left, beyond


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

    def coordinates(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Way along the road and distance to the left of its centre; far away where the road has ended."""
        best_along, best_left, best = None, None, None
        for piece in self.pieces:
            along, left, beyond = piece.coordinates(x, y)
            off = left.abs() + 4 * beyond
            if best is None or best_along is None or best_left is None:
                best_along, best_left, best = along, torch.where(beyond > 0, left.sign() * off, left), off
            else:
                nearer = off < best
                best_along = torch.where(nearer, along, best_along)
                best_left = torch.where(nearer, torch.where(beyond > 0, left.sign() * off, left), best_left)
                best = torch.minimum(best, off)
        assert best_along is not None
        assert best_left is not None
        return best_along, best_left


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


def locate(roads: Sequence[Road], x: Tensor, y: Tensor) -> OnRoads:
    """Where points lie between the roads."""
    best = torch.full_like(x, _FAR)
    second = torch.full_like(x, _FAR)
    index = torch.zeros_like(x, dtype=torch.int64)
    along, left = torch.zeros_like(x), torch.zeros_like(x)
    for number, each in enumerate(roads):
        s, side = each.coordinates(x, y)
        edge = side.abs() - each.half_width
        nearer = edge < best
        second = torch.where(nearer, best, torch.minimum(second, edge))
        best = torch.where(nearer, edge, best)
        index = torch.where(nearer, number, index)
        along, left = torch.where(nearer, s, along), torch.where(nearer, side, left)
    return OnRoads(best, index, along, left, second)
