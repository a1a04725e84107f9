"""Rays meet the ground where they first come below it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.ground import KERB_M, Ground, Waves
from stages.cache_teacher.datasets.street.roads import road

WAVES = [[0.012, 0.004, 0.3, 1.6], [-0.02, 0.03, 1.0, 0.3], [0.01, 0.08, 2.0, 0.06]]


def ground(roads: tuple[tuple[float, float], ...] = ((0.0, 500.0),)) -> Ground:
    """A hilly one; each road is (y, half width) and runs along x."""
    made = [
        road(0.0, y, 0.0, [(2000.0, 0.0)], -1000.0, half_width=wide, pavement=2.0, marked=True, parking=False)
        for y, wide in roads
    ]
    return Ground(Waves(torch.tensor(WAVES, dtype=torch.float64)), tuple(made))


def eye(over: Ground) -> Tensor:
    return torch.tensor([0.0, 0.0, over.height_at(0.0, 0.0) + 1.6])


def rays() -> Tensor:
    z, azimuth = torch.meshgrid(torch.linspace(-0.9, 0.06, 60), torch.linspace(0, 6.2, 16), indexing="ij")
    across = (1 - z.square()).sqrt()
    return torch.stack([across * azimuth.cos(), across * azimuth.sin(), z])


def first_below(over: Ground, origin: Tensor, direction: Tensor) -> Tensor:
    """Found with steps of 5 cm."""
    s = torch.arange(1.0, 300.0, 0.05, dtype=torch.float64)
    x, y, z = (origin[:, None, None].double() + direction.reshape(3, -1, 1) * s).unbind()
    under = z < over.terrain.height(x, y)
    return torch.where(under.any(dim=1), s[under.int().argmax(dim=1)], torch.inf).reshape(direction.shape[1:])


def test_rays_stop_where_they_first_come_below_the_ground() -> None:
    land = ground()
    direction, anywhere = rays(), torch.full(rays().shape[1:], torch.inf)
    found, expected = land.first_hit(eye(land), direction, anywhere), first_below(land, eye(land), direction)
    near = expected < 250
    assert 0.7 < near.float().mean() < 0.99
    assert torch.isclose(found.double()[near], expected[near], atol=0.06, rtol=0).float().mean() > 0.995
    assert (found[expected.isinf()] > 250).all()


def test_what_is_behind_something_else_may_be_left_out_but_nothing_before_it() -> None:
    land = ground()
    everything = land.first_hit(eye(land), rays(), torch.full(rays().shape[1:], torch.inf))
    some = land.first_hit(eye(land), rays(), torch.full(rays().shape[1:], 20.0))
    assert torch.equal(some[everything < 20], everything[everything < 20])
    assert (some >= 20)[everything >= 20].all()


def test_the_pavement_is_a_kerb_higher_than_the_road() -> None:
    land = ground(roads=((0.0, 3.0),))
    down = torch.tensor([0.0, 0.6, -0.8])
    origin = torch.tensor([[0.0, y, land.height_at(0.0, y) + 1.6] for y in (0.0, 6.0)])
    inf = torch.tensor([torch.inf])
    on_road, beside = (float(land.first_hit(each, down[:, None], inf)) for each in origin)
    assert (on_road - beside) * 0.8 == pytest.approx(KERB_M, abs=0.06)
