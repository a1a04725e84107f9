"""Rays meet what they should: against plain one-by-one computation, and against points known to be on the surface."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.cache_teacher.datasets.street.casting import (
    NOTHING,
    Tiles,
    first_hit,
    in_shadow,
    normal_at,
    tiled,
    untiled,
)
from stages.cache_teacher.datasets.street.solids import PLANES, Builder, Shape, Solids


def some_solids(count: int = 60) -> Solids:
    random = np.random.default_rng(1)
    builder = Builder()
    for k in range(count):
        centre = tuple(random.uniform((-30, -30, -2), (30, 30, 12)).tolist())
        half = tuple(random.uniform(0.2, 4.0, 3).tolist())
        shape = list(Shape)[k % len(Shape)]
        heading, lying = float(random.uniform(-3, 3)), bool(random.random() < 0.3)
        builder.add(centre, half, np.ones(3), shape=shape, heading=heading, lying=lying)
    return builder.solids()


def camera_rays() -> torch.Tensor:
    u, v = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-0.6, 0.6, 32), indexing="xy")
    return torch.stack([torch.ones_like(u), -u, -v])


def plain_entry(origin: np.ndarray, direction: np.ndarray, solids: Solids, k: int) -> float:
    """Where a ray enters a solid, sampled finely and then bisected."""
    local = solids.local_from_world[:, :, k].numpy().astype(np.float64)
    centre = solids.centre[k].numpy().astype(np.float64)

    def outside(t: np.ndarray) -> np.ndarray:
        q = (origin + t[:, None] * direction - centre) @ local.T
        shape = int(solids.shape[k])
        if shape == Shape.ELLIPSOID:
            return np.linalg.norm(q, axis=1) - 1
        if shape == Shape.CYLINDER:
            return np.maximum(np.hypot(q[:, 0], q[:, 1]), np.abs(q[:, 2])) - 1
        planes = PLANES[shape]
        return (q @ planes[:, :3].T - planes[:, 3]).max(axis=1)

    t = np.linspace(0, 80, 8001)
    inside = np.nonzero(outside(t) < 0)[0]
    if not len(inside) or inside[0] == 0:
        return np.inf
    low, high = t[inside[0] - 1], t[inside[0]]
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if outside(np.array([middle]))[0] < 0 else (middle, high)
    return high


def test_the_nearest_solid_is_found() -> None:
    solids = some_solids()
    origin = (-35.0, 1.0, 3.0)
    grid = camera_rays()
    found, index = first_hit(Tiles(torch.tensor(origin), tiled(grid)), solids, reach=200.0)
    found, index = untiled(found, 32, 48), untiled(index, 32, 48)
    for row, column in [(r, c) for r in range(0, 32, 5) for c in range(0, 48, 7)]:
        direction = grid[:, row, column].numpy().astype(np.float64)
        entries = [plain_entry(np.array(origin), direction, solids, k) for k in range(len(solids))]
        nearest = min(entries)
        if np.isinf(nearest):
            assert torch.isinf(found[row, column]) or found[row, column] > 0  # a graze thinner than the samples
        else:
            assert float(found[row, column]) == pytest.approx(nearest, abs=2e-2)
            assert entries[int(index[row, column])] == pytest.approx(nearest, abs=2e-2)
    assert (index == NOTHING).any()
    assert (index != NOTHING).any()


def test_normals_look_outward_and_points_lie_on_the_surface() -> None:
    solids = some_solids()
    rays = Tiles(torch.tensor([-35.0, 1.0, 3.0]), tiled(camera_rays()))
    distance, index = first_hit(rays, solids, reach=200.0)
    hit = index != NOTHING
    points = (rays.origin[:, None, None] + rays.direction * distance)[:, hit]
    normal, q = normal_at(points, index[hit], solids)
    torch.testing.assert_close(normal.square().sum(dim=0), torch.ones(normal.shape[1]), atol=1e-4, rtol=0)
    assert ((normal * rays.direction[:, hit]).sum(dim=0) < 1e-3).all(), "what is seen faces the eye"
    assert (q.abs().amax(dim=0) < 1.001).all()


def test_a_shadow_is_where_a_ray_to_the_sun_meets_something() -> None:
    solids = some_solids()
    sun = torch.tensor([0.5, 0.3, 0.81])
    sun = sun / sun.square().sum().sqrt()
    x, y = torch.meshgrid(torch.linspace(-30, 30, 32), torch.linspace(-30, 30, 32), indexing="xy")
    points = torch.stack([x, y, torch.full_like(x, -7.0)])
    tiles = tiled(points)
    shaded = untiled(in_shadow(tiles, torch.ones(tiles.shape[1:], dtype=torch.bool), solids, sun), 32, 32)
    for row, column in [(r, c) for r in range(0, 32, 6) for c in range(0, 32, 6)]:
        here = points[:, row, column].numpy().astype(np.float64)
        met = any(np.isfinite(plain_entry(here, sun.numpy().astype(np.float64), solids, k)) for k in range(len(solids)))
        assert bool(shaded[row, column]) >= met
    assert 0.02 < shaded.float().mean() < 0.98


def test_tiles_come_back_as_the_picture() -> None:
    grid = torch.arange(2 * 16 * 24).reshape(2, 16, 24)
    assert torch.equal(untiled(tiled(grid), 16, 24), grid)
    assert tiled(grid)[0, 1, 9] == grid[0, 1, 8 + 1]
