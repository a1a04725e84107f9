"""Everything that stands on the ground: boxes, roofs, tapered boxes, cylinders and ellipsoids, in one table.

A solid has a frame (three axes) and half extents; in the coordinates q = axes·(p − centre) / half it is one of a
few shapes that fill the cube |q| ≤ 1 or a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Triple = tuple[int | float, int | float, int | float]


class Shape(IntEnum):
    """The cube |q| ≤ 1, or what is left of it."""

    BOX = 0
    ROOF = 1
    """A gable: the ridge along q_x at q_z = 1."""
    TAPERED = 2
    """A cabin: shorter along q_x at the top."""
    WEDGE = 3
    """As tapered, but on all four sides: a tent roof, a pile."""
    ELLIPSOID = 4
    CYLINDER = 5
    """Along q_z."""


QUADRICS = (Shape.ELLIPSOID, Shape.CYLINDER)
PLANES = np.array(
    [  # n·q ≤ d, each (n, d)
        [(1, 0, 0, 1), (-1, 0, 0, 1), (0, 1, 0, 1), (0, -1, 0, 1), (0, 0, 1, 1), (0, 0, -1, 1)],
        [(1, 0, 0, 1), (-1, 0, 0, 1), (0, 1, 0.5, 0.5), (0, -1, 0.5, 0.5), (0, 0, 1, 1), (0, 0, -1, 1)],
        [(1, 0, 0.2, 0.8), (-1, 0, 0.14, 0.86), (0, 1, 0.06, 0.94), (0, -1, 0.06, 0.94), (0, 0, 1, 1), (0, 0, -1, 1)],
        [(1, 0, 0.45, 0.55), (-1, 0, 0.45, 0.55), (0, 1, 0.45, 0.55), (0, -1, 0.45, 0.55), (0, 0, 1, 1), (0, 0, -1, 1)],
    ],
    np.float32,
)
"""Of the shapes that planes bound, in the order of `Shape`."""


class Material(IntEnum):
    """What a surface looks like; see `surface`."""

    PLAIN = 0
    FACADE = 1
    ROOF = 2
    CAR = 3
    CABIN = 4
    TYRE = 5
    LEAVES = 6
    BARK = 7
    SIGN = 8
    HEDGE = 9
    FENCE = 10
    LAMP = 11
    CARGO = 12


@dataclass(frozen=True)
class Solids:
    """P solids. `axes` holds the frame's unit vectors in its rows; lengths in metres."""

    centre: Tensor
    """(P, 3)"""
    axes: Tensor
    """(P, 3, 3)"""
    half: Tensor
    """(P, 3)"""
    shape: Tensor
    """(P,) int64, see `Shape`."""
    material: Tensor
    """(P,) int64, see `Material`."""
    colour: Tensor
    """(P, 3) linear RGB"""
    seed: Tensor
    """(P,) int64: what makes two of a kind differ."""
    glow: Tensor
    """(P,) light of its own."""

    def __len__(self) -> int:
        return len(self.centre)

    def __getitem__(self, index: Tensor) -> Solids:
        return Solids(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    @cached_property
    def local_from_world(self) -> Tensor:
        """(3, 3, P): q = this · (p − centre)."""
        return (self.axes / self.half[:, :, None]).permute(1, 2, 0).contiguous()

    def moved(self, x: int | float, y: int | float, z: int | float, heading: int | float) -> Solids:
        """Turned about the vertical through the origin, then shifted."""
        return self.placed(upright_pose(x, y, z, heading))

    def placed(self, world_from_here: np.ndarray) -> Solids:
        """Moved by a rigid transform (4, 4), or each by its own (P, 4, 4)."""
        pose = torch.from_numpy(world_from_here).to(self.centre)
        rotation = pose[..., :3, :3]
        centre = (rotation * self.centre[:, None, :]).sum(dim=2) + pose[..., :3, 3]
        axes = (rotation.unsqueeze(-3) * self.axes[:, :, None, :]).sum(dim=3)
        return replace(self, centre=centre, axes=axes)

    def to(self, device: torch.device | str) -> Solids:
        """On a device."""
        return Solids(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})


def upright_pose(x: int | float, y: int | float, z: int | float, heading: int | float) -> np.ndarray:
    """The rigid transform (4, 4) that turns about the vertical, then shifts."""
    c, s = float(np.cos(heading)), float(np.sin(heading))
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]])


def joined(parts: list[Solids]) -> Solids:
    """All of several tables, in order."""
    return Solids(**{each.name: torch.cat([getattr(part, each.name) for part in parts]) for each in fields(Solids)})


@dataclass
class Builder:
    """Collects solids one by one."""

    rows: list[tuple[object, ...]] = field(default_factory=list)

    def add(
        self,
        centre: Triple,
        half: Triple,
        colour: np.ndarray,
        material: Material = Material.PLAIN,
        shape: Shape = Shape.BOX,
        *,
        heading: int | float = 0.0,
        lying: bool = False,
        seed: int = 0,
        glow: int | float = 0.0,
    ) -> None:
        """Add one; `heading` turns it about the vertical, `lying` puts its z axis along its side (a wheel)."""
        c, s = np.cos(heading), np.sin(heading)
        frame = [(c, s, 0.0), (-s, c, 0.0), (0.0, 0.0, 1.0)]
        if lying:
            frame = [frame[0], frame[2], frame[1]]
        self.rows.append((centre, frame, half, int(shape), int(material), tuple(map(float, colour)), seed, glow))

    def solids(self) -> Solids:
        """What was added."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * 8
        shapes = [(-1, 3), (-1, 3, 3), (-1, 3), (-1,), (-1,), (-1, 3), (-1,), (-1,)]
        whole = [False, False, False, True, True, False, True, False]
        arrays = [
            torch.from_numpy(np.asarray(column, np.int64 if integer else np.float32).reshape(shape))
            for column, shape, integer in zip(columns, shapes, whole, strict=True)
        ]
        return Solids(*arrays)
