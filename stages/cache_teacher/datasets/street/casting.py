"""Casting rays at solids: which one each ray meets first, and whether anything stands between a point and the sun.

Rays come in tiles of neighbours. For a tile, the solids that its rays might meet are found first; then every pair of
a tile and such a solid is worked out exactly, many pairs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.solids import PLANES, Shape, Solids
from stages.cache_teacher.datasets.street.vectors import dot, length_of, picked, rotated

NOTHING = -1
_CORNERS = (0, 7, 63, 56)
_TINY = 1e-9
_START = 1e-4
"""Nothing is met before this way along a ray: its start may lie on a surface."""
_MARGIN_M = 1e-3
_PAIRS, _RAYS = 512, 32_768
"""Pairs of a tile and a solid, and of a ray and a solid, worked out at once: what fits into a processor's cache."""


@dataclass(frozen=True)
class Tiles:
    """Rays from one point, in T tiles of R = 8 × 8 neighbours, row by row."""

    origin: Tensor
    """(3,)"""
    direction: Tensor
    """(3, T, R), of any length: distances come in multiples of it."""


def tiled(grid: Tensor) -> Tensor:
    """(…, H, W) as (…, T, 64)."""
    *rest, height, width = grid.shape
    blocks = grid.reshape(*rest, height // 8, 8, width // 8, 8).transpose(-3, -2)
    return blocks.reshape(*rest, -1, 64)


def untiled(tiles: Tensor, height: int, width: int) -> Tensor:
    """(…, T, 64) as (…, H, W)."""
    rest = tiles.shape[:-2]
    blocks = tiles.reshape(*rest, height // 8, width // 8, 8, 8).transpose(-3, -2)
    return blocks.reshape(*rest, height, width)


def first_hit(rays: Tiles, solids: Solids, reach: float) -> tuple[Tensor, Tensor]:
    """Distance (T, R), inf where nothing is met, and the solid's index (T, R) or NOTHING.

    `reach` in metres bounds the centres that are looked at; distances are in lengths of the rays' directions.
    """
    in_tile = rays.direction.shape[2]
    origin = rotated(solids.local_from_world, rays.origin[:, None] - solids.centre.T)  # (3, P)
    met = []
    for span, tile, solid in _by_kind(solids, *_candidates(rays, solids, reach), _PAIRS):
        local = picked(solids.local_from_world, solid)[..., None]
        d = rotated(local, rays.direction.index_select(1, tile))
        enter, leave = span(picked(origin, solid)[..., None], d, solids.shape[solid][:, None])
        pair, ray = torch.nonzero((enter < leave) & (enter > _START), as_tuple=True)
        met.append((enter[pair, ray], tile[pair] * in_tile + ray, solid[pair]))
    distance = torch.full_like(rays.direction[0], torch.inf)
    index = torch.full_like(distance, NOTHING, dtype=torch.int64)
    if met:
        enter, ray, solid = (torch.cat(parts) for parts in zip(*met, strict=True))
        distance.view(-1).scatter_reduce_(0, ray, enter, "amin")
        first = enter == distance.view(-1)[ray]
        index.view(-1).scatter_reduce_(0, ray[first], solid[first], "amin", include_self=False)
    return distance, index


def in_shadow(points: Tensor, wanted: Tensor, solids: Solids, sun: Tensor) -> Tensor:
    """Whether a solid stands between each of the points (3, T, R) and the sun (3,), where `wanted` (T, R) holds."""
    shaded = torch.zeros_like(wanted)
    ray, solid = _below(points, wanted, solids, sun)
    sunward = rotated(solids.local_from_world, sun[:, None])  # (3, P)
    flat = points.reshape(3, -1)
    for span, r, s in _by_kind(solids, ray, solid, _RAYS):
        origin = rotated(picked(solids.local_from_world, s), picked(flat, r) - picked(solids.centre.T, s))
        enter, leave = span(origin, picked(sunward, s), solids.shape[s])
        shaded.view(-1)[r[(enter < leave) & (enter > _START)]] = True
    return shaded


def normal_at(points: Tensor, index: Tensor, solids: Solids) -> tuple[Tensor, Tensor]:
    """Outward unit normals (3, N) at points (3, N) on the surface of solids (N,), and the points as q (3, N)."""
    local, shape = picked(solids.local_from_world, index), solids.shape[index]
    q = rotated(local, points - picked(solids.centre.T, index))
    gradient, nearest = torch.zeros_like(q), torch.full_like(q[0], -torch.inf)
    for planes in _planes(q.device):
        plane = picked(planes, shape.clamp(max=len(PLANES) - 1))
        beyond = dot(plane[:3], q) - plane[3]
        gradient = torch.where(beyond > nearest, plane[:3], gradient)
        nearest = torch.maximum(nearest, beyond)
    x, y, z = q
    none = torch.zeros_like(z)
    radial, cap = torch.stack([x, y, none]), torch.stack([none, none, z.sign()])
    gradient = torch.where(shape == Shape.ELLIPSOID, q, gradient)
    round_side = torch.where(z.abs() >= length_of(radial), cap, radial)
    gradient = torch.where(shape == Shape.CYLINDER, round_side, gradient)
    normal = rotated(local.transpose(0, 1), gradient)
    return normal / length_of(normal).clamp(min=_TINY), q


def _candidates(rays: Tiles, solids: Solids, reach: float) -> tuple[Tensor, Tensor]:
    """Pairs of a tile and a solid that may meet, sorted by tile."""
    corner = rays.direction[:, :, _CORNERS].transpose(1, 2)  # (3, 4, T)
    normal = torch.cross(corner, corner.roll(-1, dims=1), dim=0)
    inward = dot(normal, corner.sum(dim=1, keepdim=True)).sign()
    normal = normal * inward / length_of(normal).clamp(min=_TINY)
    offset = solids.centre.T - rays.origin[:, None]
    distance, radius = length_of(offset), length_of(solids.half.T)
    near = torch.nonzero((distance - radius < reach) & _ahead(corner.reshape(3, -1), offset, distance, radius))[:, 0]
    # By their spheres, all against all; then by their boxes, pair by pair.
    margin = 2e-3 * distance
    limit = -(radius + margin)[near]
    meets = torch.ones(len(rays.direction[0]), len(near), dtype=torch.bool, device=near.device)
    for side in normal.unbind(dim=1):
        meets &= side.T @ offset[:, near] >= limit
    tile, position = torch.nonzero(meets, as_tuple=True)
    solid = near[position]
    side = picked(normal, tile)  # (3, 4, N)
    sides = (solids.axes * solids.half[:, :, None]).permute(1, 2, 0)
    size = rotated(picked(sides, solid)[:, :, None], side).abs().sum(dim=0)
    kept = (dot(side, picked(offset, solid)[:, None]) + margin[solid] + size >= 0).all(dim=0)
    return tile[kept], solid[kept]


def _ahead(rays: Tensor, offset: Tensor, distance: Tensor, radius: Tensor) -> Tensor:
    """Whether spheres (P,) reach into the cone around all of the rays (3, N), with a margin."""
    unit = rays / length_of(rays)
    middle = unit.sum(dim=1, keepdim=True)
    middle = middle / length_of(middle).clamp(min=_TINY)
    widest = torch.arccos(dot(unit, middle).clamp(-1, 1).amin())
    away = distance.clamp(min=_TINY)
    angle = torch.arccos((dot(offset, middle) / away).clamp(-1, 1))
    return (angle <= widest + torch.arcsin((radius / away).clamp(max=1)) + 0.01) | (distance <= radius)


def _below(points: Tensor, wanted: Tensor, solids: Solids, sun: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a wanted point and a solid in whose bounding box's shadow it lies, as flat indices.

    The boxes are upright in the sun's frame: two axes across its light, the third towards it.
    """
    frame = torch.stack([*_basis(sun), sun])
    at = rotated(frame[:, :, None, None], points)
    low = torch.where(wanted, at, torch.inf)
    high = torch.where(wanted, at, -torch.inf).amax(dim=2)
    middle = rotated(frame[:, :, None], solids.centre.T)
    sides = (solids.axes * solids.half[:, :, None]).permute(2, 1, 0)  # (3, 3 sides, P)
    extent = rotated(frame[:, :, None, None], sides).abs().sum(dim=1) + _MARGIN_M
    first, last = middle - extent, middle + extent
    found = []
    tiles, boxes = _overlapping(low.amin(dim=2), high, first, last)
    for tile, solid in zip(torch.split(tiles, _PAIRS), torch.split(boxes, _PAIRS), strict=True):
        here = low.index_select(1, tile)
        gap = _gap(here, here, picked(first, solid)[..., None], picked(last, solid)[..., None])
        pair, ray = torch.nonzero(gap <= 0, as_tuple=True)
        found.append((tile[pair] * here.shape[2] + ray, solid[pair]))
    rays, those = zip(*found, strict=True)
    return torch.cat(rays), torch.cat(those)


def _overlapping(low: Tensor, high: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of tiles (3, T) and boxes (3, P) whose `_gap` is none; most boxes are far from all tiles, to begin with."""
    whole = _gap(low.amin(dim=1, keepdim=True), high.amax(dim=1, keepdim=True), first, last)
    box, tile = torch.nonzero(whole <= 0)[:, 0], torch.nonzero(low[2] < torch.inf)[:, 0]
    low, high, first, last = picked(low, tile), picked(high, tile), picked(first, box), picked(last, box)
    i, j = torch.nonzero(_gap(low[:, :, None], high[:, :, None], first[:, None], last[:, None]) <= 0, as_tuple=True)
    return tile[i], box[j]


def _gap(low: Tensor, high: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """How far (…) points from low to high (3, …) are from the shadows of boxes from first to last (3, …)."""
    beside = torch.maximum(low[:2] - last[:2], first[:2] - high[:2])
    return torch.maximum(torch.maximum(beside[0], beside[1]), low[2] - last[2])


def _by_kind(
    solids: Solids, ray: Tensor, solid: Tensor, at_once: int
) -> Iterator[tuple[Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]], Tensor, Tensor]]:
    """Pairs of rays (or tiles of them) and solids in parts of one kind, each with how to find what the rays cross."""
    shape = solids.shape[solid]
    for span, shapes in _SPANS.items():
        which = torch.nonzero((shape >= shapes[0]) & (shape <= shapes[-1]))[:, 0]
        for part in torch.split(which, at_once):
            if len(part):
                yield span, ray[part], solid[part]


def _in_cube(origin: Tensor, d: Tensor, _shape: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (3, …) are within |q| ≤ 1: distances (…) at which they enter and leave.

    A ray parallel to a face meets it at ±inf, as it should (Williams et al. 2005, "An efficient and robust ray-box
    intersection algorithm"), or if it lies in it at nan, which counts as a miss.
    """
    inverse = 1 / d
    one, other = (-1 - origin) * inverse, (1 - origin) * inverse
    return torch.minimum(one, other).amax(dim=0), torch.maximum(one, other).amin(dim=0)


def _between_planes(origin: Tensor, d: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """The same for the shapes that planes bound."""
    enter = leave = None
    for planes in _planes(d.device):
        x, y, z, limit = planes[:, shape]
        fall = -x * d[0] - y * d[1] - z * d[2]
        at = (dot(torch.stack([x, y, z]), origin) - limit) / fall
        inwards = torch.copysign(fall.new_tensor(torch.inf), fall)  # or -inf, where the ray passes outwards
        inward, outward = torch.minimum(at, inwards), torch.maximum(at, inwards)
        enter = inward if enter is None else torch.maximum(enter, inward)
        leave = outward if leave is None else torch.minimum(leave, outward)
    assert enter is not None
    assert leave is not None
    return enter, leave


def _in_ball(origin: Tensor, d: Tensor, _shape: Tensor) -> tuple[Tensor, Tensor]:
    """The same for |q|² ≤ 1."""
    return _roots(dot(d, d), dot(origin, d), dot(origin, origin) - 1)


def _in_cylinder(origin: Tensor, d: Tensor, _shape: Tensor) -> tuple[Tensor, Tensor]:
    """The same for q_x² + q_y² ≤ 1, |q_z| ≤ 1."""
    o, e = origin[:2], d[:2]
    low, high = _roots(dot(e, e), dot(o, e), dot(o, o) - 1)
    bottom, top = _in_cube(origin[2:], d[2:], _shape)
    return torch.maximum(low, bottom), torch.minimum(high, top)


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of a·t² + 2·b·t + c; nan where there are none, which counts as a miss."""
    a = a.clamp(min=_TINY)
    half = (b * b - a * c).sqrt()
    return (-b - half) / a, (-b + half) / a


_SPANS = {
    _in_cube: (Shape.BOX, Shape.BOX),
    _between_planes: (Shape.ROOF, Shape.WEDGE),
    _in_ball: (Shape.ELLIPSOID, Shape.ELLIPSOID),
    _in_cylinder: (Shape.CYLINDER, Shape.CYLINDER),
}
"""How each kind of solid is met: the first and the last shape of it."""


def _planes(device: torch.device) -> Tensor:
    """(6, 4, shapes): the planes' normals and limits."""
    return torch.from_numpy(PLANES).to(device).permute(1, 2, 0).contiguous()


def _basis(direction: Tensor) -> tuple[Tensor, Tensor]:
    helper = direction.new_tensor([0.0, 0.0, 1.0] if abs(float(direction[2])) < 0.9 else [1.0, 0.0, 0.0])
    across = torch.linalg.cross(direction, helper)
    across = across / across.square().sum().sqrt()
    return across, torch.linalg.cross(across, direction)
