"""Casting rays at solids: which one each ray meets first, and whether anything stands between a point and the sun.

Rays come in tiles of neighbours. For a tile, the solids that its rays might meet are found first; then every pair of
a tile and such a solid is worked out exactly, all pairs at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.solids import PLANES, Shape, Solids

NOTHING = -1
_CORNERS = (0, 7, 63, 56)
_TINY = 1e-9
_PAIRS = 16_384
"""Pairs that are worked out at once: what fits into a processor's cache."""


@dataclass(frozen=True)
class Tiles:
    """Rays from one point, in T tiles of R = 8 × 8 neighbours, row by row."""

    origin: Tensor
    """(3,)"""
    direction: Tensor
    """(T, R, 3), of any length: distances come in multiples of it."""


def tiled(grid: Tensor) -> Tensor:
    """(H, W, …) as (T, 64, …)."""
    height, width = grid.shape[:2]
    blocks = grid.reshape(height // 8, 8, width // 8, 8, *grid.shape[2:]).transpose(1, 2)
    return blocks.reshape(-1, 64, *grid.shape[2:])


def untiled(tiles: Tensor, height: int, width: int) -> Tensor:
    """(T, 64, …) as (H, W, …)."""
    blocks = tiles.reshape(height // 8, width // 8, 8, 8, *tiles.shape[2:]).transpose(1, 2)
    return blocks.reshape(height, width, *tiles.shape[2:])


def first_hit(rays: Tiles, solids: Solids, reach: float) -> tuple[Tensor, Tensor]:
    """Distance (T, R), inf where nothing is met, and the solid's index (T, R) or NOTHING.

    `reach` in metres bounds the centres that are looked at; distances are in lengths of the rays' directions.
    """
    tiles, in_tile = rays.direction.shape[:2]
    nearest = rays.direction.new_full((tiles, in_tile), torch.inf)
    index = torch.full((tiles, in_tile), NOTHING, dtype=torch.int64, device=nearest.device)
    tile, solid = _candidates(rays, solids, reach)
    if not len(tile):
        return nearest, index
    offset = rays.origin - solids.centre
    from_origin = (solids.local_from_world * offset[:, None, :]).sum(dim=2)  # (P, 3)
    distance = torch.cat(
        [
            _entry(from_origin[s][:, None, :], rays.direction[t], solids, s)
            for t, s in zip(torch.split(tile, _PAIRS), torch.split(solid, _PAIRS), strict=True)
        ]
    )
    row = tile[:, None].expand_as(distance)
    nearest.scatter_reduce_(0, row, distance, "amin")
    winner = torch.where((distance == nearest[tile]) & distance.isfinite(), solid[:, None], len(solids))
    first = torch.full_like(index, len(solids)).scatter_reduce_(0, row, winner, "amin")
    return nearest, torch.where(first < len(solids), first, NOTHING)


def in_shadow(points: Tensor, wanted: Tensor, solids: Solids, sun: Tensor) -> Tensor:
    """Whether a solid stands between each of the points (T, R, 3) and the sun, where `wanted` (T, R) holds."""
    shaded = torch.zeros_like(wanted)
    across, up = _basis(sun)
    flat = torch.stack([(points * axis).sum(dim=2) for axis in (across, up, sun)], dim=2)
    low = torch.where(wanted[:, :, None], flat, torch.inf).amin(dim=1)
    high = torch.where(wanted[:, :, None], flat, -torch.inf).amax(dim=1)
    basis = torch.stack([across, up, sun])
    middle = (solids.centre[:, None, :] * basis).sum(dim=2)
    extent = (((solids.axes[:, :, None, :] * basis).sum(dim=3)).abs() * solids.half[:, :, None]).sum(dim=1)
    first, last = middle - extent, middle + extent
    beside = (last[None, :, :2] < low[:, None, :2]) | (first[None, :, :2] > high[:, None, :2])
    behind = last[None, :, 2] < low[:, None, 2]
    tile, solid = torch.nonzero(~(beside.any(dim=2) | behind), as_tuple=True)
    if not len(tile):
        return shaded
    direction = sun[None, None, :]
    for t, s in zip(torch.split(tile, _PAIRS), torch.split(solid, _PAIRS), strict=True):
        local = solids.local_from_world[s]
        origin = _rotated(local, points[t] - solids.centre[s][:, None, :])
        blocked = _entry(origin, direction, solids, s).isfinite() & wanted[t]
        shaded.scatter_reduce_(0, t[:, None].expand_as(blocked), blocked, "amax")
    return shaded


def normal_at(points: Tensor, index: Tensor, solids: Solids) -> tuple[Tensor, Tensor]:
    """Outward unit normals (N, 3) at points (N, 3) on the surface of solids (N,), and the points as q (N, 3)."""
    local = solids.local_from_world[index]
    q = (local * (points - solids.centre[index])[:, None, :]).sum(dim=2)
    shape = solids.shape[index]
    planes = _planes(q.device)[shape.clamp(max=len(PLANES) - 1)]
    residual = (planes[:, :, :3] * q[:, None, :]).sum(dim=2) - planes[:, :, 3]
    gradient = planes[torch.arange(len(q), device=q.device), residual.argmax(dim=1), :3]
    radial = torch.stack([q[:, 0], q[:, 1], torch.zeros_like(q[:, 2])], dim=1)
    cap = torch.stack([torch.zeros_like(q[:, 0]), torch.zeros_like(q[:, 0]), q[:, 2].sign()], dim=1)
    on_cap = q[:, 2].abs() >= radial.square().sum(dim=1).sqrt()
    gradient = torch.where((shape == Shape.ELLIPSOID)[:, None], q, gradient)
    gradient = torch.where((shape == Shape.CYLINDER)[:, None], torch.where(on_cap[:, None], cap, radial), gradient)
    normal = (local * gradient[:, :, None]).sum(dim=1)
    return normal / normal.square().sum(dim=1, keepdim=True).sqrt().clamp(min=_TINY), q


def _candidates(rays: Tiles, solids: Solids, reach: float) -> tuple[Tensor, Tensor]:
    """Pairs of a tile and a solid that may meet, sorted by tile."""
    corner = rays.direction[:, _CORNERS]  # (T, 4, 3)
    normal = torch.cross(corner, corner.roll(-1, dims=1), dim=2)
    inward = (normal * corner.sum(dim=1, keepdim=True)).sum(dim=2, keepdim=True).sign()
    normal = normal * inward / normal.square().sum(dim=2, keepdim=True).sqrt().clamp(min=_TINY)
    offset = solids.centre - rays.origin
    radius = distance_of(solids.half)
    near = torch.nonzero(distance_of(offset) - radius < reach)[:, 0]
    # Around all the rays first, with a margin, then around each tile.
    axis = corner.reshape(-1, 3)
    axis = axis / axis.square().sum(dim=1, keepdim=True).sqrt()
    middle = axis.sum(dim=0)
    middle = middle / middle.square().sum().sqrt().clamp(min=_TINY)
    widest = torch.arccos((axis * middle).sum(dim=1).clamp(-1, 1).amin())
    distance = distance_of(offset[near]).clamp(min=_TINY)
    angle = torch.arccos(((offset[near] * middle).sum(dim=1) / distance).clamp(-1, 1))
    half_angle = torch.arcsin((radius[near] / distance).clamp(max=1))
    near = near[(angle <= widest + half_angle + 0.01) | (distance <= radius[near])]
    # By their spheres, all against all; then by their boxes, pair by pair.
    margin = 2e-3 * distance_of(offset)
    limit = -(radius + margin)[near]
    meets = torch.stack([normal[:, k] @ offset[near].T >= limit for k in range(4)]).all(dim=0)
    tile, position = torch.nonzero(meets, as_tuple=True)
    solid = near[position]
    side = normal[tile]  # (N, 4, 3)
    ahead = (side * offset[solid][:, None, :]).sum(dim=2) + margin[solid][:, None]
    size = ((side[:, :, None, :] * solids.axes[solid][:, None]).sum(dim=3).abs() * solids.half[solid][:, None]).sum(
        dim=2
    )
    kept = (ahead + size >= 0).all(dim=1)
    return tile[kept], solid[kept]


def distance_of(offset: Tensor) -> Tensor:
    """Length of vectors (…, 3)."""
    return offset.square().sum(dim=-1).sqrt()


def _entry(origin: Tensor, direction: Tensor, solids: Solids, index: Tensor) -> Tensor:
    """Distance (N, R) at which rays enter solids (N,); inf where they miss or start inside.

    `origin` is in the solid's own coordinates already, (N, 1 or R, 3); `direction` in the world's, (N or 1, R or 1, 3).
    """
    local = solids.local_from_world[index]
    d = _rotated(local, direction)
    shape = solids.shape[index]
    enter, leave = _slabs(origin, d)
    bent = (shape > Shape.BOX) & (shape < Shape.ELLIPSOID)
    if bool(bent.any()):
        which = torch.nonzero(bent)[:, 0]
        bounds = _between_planes(_of(origin, which), _of(d, which), _planes(d.device)[shape[which]])
        enter, leave = _replaced(enter, leave, which, bounds)
    quadric = shape >= Shape.ELLIPSOID
    if bool(quadric.any()):
        which = torch.nonzero(quadric)[:, 0]
        round_in_z = (shape[which] == Shape.ELLIPSOID).to(d.dtype)[:, None]
        low, high = _inside_round(_of(origin, which), _of(d, which), round_in_z)
        bounds = torch.maximum(low, enter[which]), torch.minimum(high, leave[which])
        enter, leave = _replaced(enter, leave, which, bounds)
    return torch.where((enter < leave) & (enter > 1e-4), enter, torch.inf)


def _of(vectors: Tensor, which: Tensor) -> Tensor:
    return vectors[which] if len(vectors) > 1 else vectors


def _replaced(enter: Tensor, leave: Tensor, which: Tensor, bounds: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return enter.index_copy(0, which, bounds[0]), leave.index_copy(0, which, bounds[1])


def _slabs(origin: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1 / torch.where(d.abs() < _TINY, _TINY, d)
    one, other = (-1 - origin) * inverse, (1 - origin) * inverse
    return torch.minimum(one, other).amax(dim=2), torch.maximum(one, other).amin(dim=2)


def _between_planes(origin: Tensor, d: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
    enter = leave = None
    for k in range(planes.shape[1]):
        n, limit = planes[:, None, k, :3], planes[:, None, k, 3]
        slope = (n * d).sum(dim=2)
        slope = torch.where(slope.abs() < _TINY, _TINY, slope)
        at = (limit - (n * origin).sum(dim=2)) / slope
        inward = torch.where(slope < 0, at, -torch.inf)
        outward = torch.where(slope > 0, at, torch.inf)
        enter = inward if enter is None else torch.maximum(enter, inward)
        leave = outward if leave is None else torch.minimum(leave, outward)
    assert enter is not None
    assert leave is not None
    return enter, leave


def _inside_round(origin: Tensor, d: Tensor, round_in_z: Tensor) -> tuple[Tensor, Tensor]:
    """Where q_x² + q_y² (+ q_z² for an ellipsoid) ≤ 1."""
    ox, oy, oz = origin.unbind(dim=2)
    dx, dy, dz = d.unbind(dim=2)
    a = (dx * dx + dy * dy + round_in_z * dz * dz).clamp(min=_TINY)
    b = ox * dx + oy * dy + round_in_z * oz * dz
    c = ox * ox + oy * oy + round_in_z * oz * oz - 1
    root = b * b - a * c
    half = root.clamp(min=0).sqrt()
    missed = root < 0
    return torch.where(missed, torch.inf, (-b - half) / a), torch.where(missed, -torch.inf, (-b + half) / a)


def _rotated(local: Tensor, vectors: Tensor) -> Tensor:
    """Matrices (N, 3, 3) times vectors (N or 1, R, 3)."""
    x, y, z = vectors.unbind(dim=2)
    return torch.stack(
        [local[:, k, 0, None] * x + local[:, k, 1, None] * y + local[:, k, 2, None] * z for k in range(3)], 2
    )


def _planes(device: torch.device) -> Tensor:
    return torch.from_numpy(PLANES).to(device)


def _basis(direction: Tensor) -> tuple[Tensor, Tensor]:
    helper = direction.new_tensor([0.0, 0.0, 1.0] if abs(float(direction[2])) < 0.9 else [1.0, 0.0, 0.0])
    across = torch.linalg.cross(direction, helper)
    across = across / across.square().sum().sqrt()
    return across, torch.linalg.cross(across, direction)
