"""The ground: gentle slopes, with the pavements a kerb above the carriageways, and where rays meet it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.roads import Road, beside_roads
from stages.cache_teacher.datasets.street.vectors import length_of, picked

KERB_M = 0.13
_FARTHEST_M = 400.0
_STEPS, _REFINEMENTS = 6, 6
_STEEP, _NEWTON_STEPS = 4.0, 3
"""Rays this many times as steep as the ground ever is cross it once, and Newton's method finds where in few steps."""


@dataclass(frozen=True)
class Waves:
    """A terrain as a sum of plane waves, (W, 4) each: wave vector x and y in 1/m, phase, amplitude in metres."""

    waves: Tensor

    def height(self, x: Tensor, y: Tensor) -> Tensor:
        """Height in metres at points of any shape."""
        total = torch.zeros_like(x)
        for kx, ky, phase, amplitude in self.waves.tolist():
            total = total + amplitude * torch.sin(kx * x + ky * y + phase)
        return total

    def slope(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Its derivatives along x and y."""
        dx, dy = torch.zeros_like(x), torch.zeros_like(x)
        for kx, ky, phase, amplitude in self.waves.tolist():
            wave = amplitude * torch.cos(kx * x + ky * y + phase)
            dx, dy = dx + kx * wave, dy + ky * wave
        return dx, dy


@dataclass(frozen=True)
class Ground:
    """Terrain and roads of a town."""

    terrain: Waves
    roads: tuple[Road, ...]

    def first_hit(self, origin: Tensor, direction: Tensor, within: Tensor) -> Tensor:
        """Distance (…) in lengths of `direction` (3, …) at which rays from `origin` (3,) meet the ground; inf: never.

        What is farther than `within` (…), in the same unit, may be left out. The kerb is added in the end, where the
        rays are steep enough for it to matter.
        """
        length = length_of(direction)
        ray = (direction / length).reshape(3, -1)
        steepest = sum(abs(a) * (kx**2 + ky**2) ** 0.5 for kx, ky, _, a in self.terrain.waves.tolist())
        eye_m = float(self._clearance(origin, origin[:, None], torch.zeros_like(origin[:1])))
        # The ground is nowhere steeper than `steepest`: a ray is above it up to `free`, and below it from `far` on.
        free = (eye_m - KERB_M) / (steepest - ray[2]).clamp(min=1e-6)
        far = 1.01 * eye_m / (-steepest - ray[2]).clamp(min=eye_m / _FARTHEST_M)
        wanted = free < (within * length).flatten().clamp(max=_FARTHEST_M)
        steep = ray[2] < -_STEEP * steepest - 0.01
        found = torch.full_like(free, torch.inf)
        which = torch.nonzero(wanted & steep)[:, 0]
        found[which] = self._fall(origin, picked(ray, which))
        which = torch.nonzero(wanted & ~steep)[:, 0]
        found[which] = self._march(origin, *(picked(each, which) for each in (ray, free, far)))
        hit = torch.nonzero(found < torch.inf)[:, 0]
        found[hit] = self._onto_the_kerb(origin, picked(ray, hit), found[hit])
        return found.reshape(length.shape) / length

    def _fall(self, origin: Tensor, ray: Tensor) -> Tensor:
        """Distance (N,) to the ground along rays that are so steep that Newton's method finds it from anywhere."""
        dx, dy = self.terrain.slope(origin[:1], origin[1:2])
        at = self._clearance(origin, origin[:, None], torch.zeros_like(dx)) / (ray[0] * dx + ray[1] * dy - ray[2])
        for _ in range(_NEWTON_STEPS):
            x, y, z = (origin[:, None] + at * ray).unbind()
            dx, dy = self.terrain.slope(x, y)
            at = at + (z - self.terrain.height(x, y)) / (ray[0] * dx + ray[1] * dy - ray[2])
        return at

    def _march(self, origin: Tensor, ray: Tensor, low: Tensor, far: Tensor) -> Tensor:
        """Distance (N,), inf if there is none, at which rays first cross the ground between two distances (N,).

        Steps that widen with the distance find the crossing, and false position the point.
        """
        wider = (far / low) ** (1 / _STEPS)
        above = self._clearance(origin, ray, low)
        high, below = torch.full_like(low, torch.inf), torch.full_like(low, -1.0)
        at = low
        for _ in range(_STEPS):
            at = at * wider
            clearance = self._clearance(origin, ray, at)
            open_still = torch.isinf(high)
            crossed = open_still & (clearance < 0)
            high, below = torch.where(crossed, at, high), torch.where(crossed, clearance, below)
            passed = open_still & ~crossed
            low, above = torch.where(passed, at, low), torch.where(passed, clearance, above)
        hit = torch.nonzero(high < torch.inf)[:, 0]
        found = torch.full_like(low, torch.inf)
        ray, low, high, above, below = (picked(each, hit) for each in (ray, low, high, above, below))
        for _ in range(_REFINEMENTS):
            at = low + (high - low) * (above / (above - below)).clamp(0.02, 0.98)
            clearance = self._clearance(origin, ray, at)
            over = clearance >= 0
            low, above = torch.where(over, at, low), torch.where(over, clearance, above)
            high, below = torch.where(over, high, at), torch.where(over, below, clearance)
        found[hit] = low + (high - low) * (above / (above - below))
        return found

    def _onto_the_kerb(self, origin: Tensor, ray: Tensor, at: Tensor) -> Tensor:
        """The same on the raised pavement, or on the face of its kerb."""
        x, y, _ = (origin[:, None] + at * ray).unbind()
        dx, dy = self.terrain.slope(x, y)
        sinking = (ray[0] * dx + ray[1] * dy - ray[2]).clamp(min=0.01)
        top = at - KERB_M / sinking
        here = beside_roads(self.roads, x, y)
        there = beside_roads(self.roads, origin[0] + top * ray[0], origin[1] + top * ray[1])
        face = top + (at - top) * (there / (there - here)).clamp(0, 1)
        return torch.where((there > 0) & (top > 0), top, torch.where(here > 0, face, at))

    def _clearance(self, origin: Tensor, ray: Tensor, at: Tensor) -> Tensor:
        x, y, z = (origin[:, None] + at * ray).unbind()
        return z - self.terrain.height(x, y)

    def height_at(self, x: float, y: float) -> float:
        """Height of the terrain in metres, without kerbs."""
        kx, ky, phase, amplitude = self.terrain.waves.unbind(dim=1)
        return float(sum((amplitude * torch.sin(kx * x + ky * y + phase)).tolist()))

    def normal(self, x: Tensor, y: Tensor) -> Tensor:
        """Upward unit normals (3, N)."""
        dx, dy = self.terrain.slope(x, y)
        normal = torch.stack([-dx, -dy, torch.ones_like(dx)])
        return normal / length_of(normal)
