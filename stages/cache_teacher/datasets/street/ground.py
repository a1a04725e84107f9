"""The ground: gentle slopes, with the pavements a kerb above the carriageways, and where rays meet it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.roads import Road, locate

KERB_M = 0.13
_NEAREST_M, _FARTHEST_M = 0.5, 400.0
_STEPS, _REFINEMENTS = 14, 7


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

    def first_hit(self, origin: Tensor, direction: Tensor) -> Tensor:
        """Distance in lengths of `direction` (…, 3) at which rays from `origin` (3,) meet the ground; inf: never.

        Steps that widen with the distance find the crossing, and false position the point; the kerb is added in
        the end, where the rays are steep enough for it to matter.
        """
        length = direction.square().sum(dim=-1).sqrt()
        flat = direction.reshape(-1, 3) / length.reshape(-1, 1)
        found = torch.full_like(flat[:, 0], torch.inf)
        steepest = sum(abs(a) * (kx**2 + ky**2) ** 0.5 for kx, ky, _, a in self.terrain.waves.tolist())
        rays = torch.nonzero(flat[:, 2] < steepest + 1e-3)[:, 0]
        if len(rays):
            found[rays] = self._march(origin, flat[rays])
        return found.reshape(length.shape) / length

    def _march(self, origin: Tensor, ray: Tensor) -> Tensor:
        ratio = (_FARTHEST_M / _NEAREST_M) ** (1 / _STEPS)
        low = torch.zeros_like(ray[:, 0])
        above = self._clearance(origin, ray, low)
        high, below = torch.full_like(low, torch.inf), torch.full_like(low, -1.0)
        reach = _NEAREST_M
        for _ in range(_STEPS + 1):
            at = torch.full_like(low, reach)
            clearance = self._clearance(origin, ray, at)
            open_still = torch.isinf(high)
            crossed = open_still & (clearance < 0)
            high, below = torch.where(crossed, at, high), torch.where(crossed, clearance, below)
            passed = open_still & ~crossed
            low, above = torch.where(passed, at, low), torch.where(passed, clearance, above)
            reach *= ratio
        hit = torch.nonzero(torch.isfinite(high))[:, 0]
        result = torch.full_like(low, torch.inf)
        if not len(hit):
            return result
        ray, low, high, above, below = ray[hit], low[hit], high[hit], above[hit], below[hit]
        for _ in range(_REFINEMENTS):
            at = low + (high - low) * (above / (above - below)).clamp(0.02, 0.98)
            clearance = self._clearance(origin, ray, at)
            over = clearance >= 0
            low, above = torch.where(over, at, low), torch.where(over, clearance, above)
            high, below = torch.where(over, high, at), torch.where(over, below, clearance)
        at = low + (high - low) * (above / (above - below))
        result[hit] = self._onto_the_kerb(origin, ray, at)
        return result

    def _onto_the_kerb(self, origin: Tensor, ray: Tensor, at: Tensor) -> Tensor:
        """The same on the raised pavement, or on the face of its kerb."""
        x, y = origin[0] + at * ray[:, 0], origin[1] + at * ray[:, 1]
        dx, dy = self.terrain.slope(x, y)
        sinking = (ray[:, 0] * dx + ray[:, 1] * dy - ray[:, 2]).clamp(min=0.01)
        top = at - KERB_M / sinking
        here = self._beside(x, y)
        there = self._beside(origin[0] + top * ray[:, 0], origin[1] + top * ray[:, 1])
        face = top + (at - top) * (there / (there - here)).clamp(0, 1)
        return torch.where((there > 0) & (top > 0), top, torch.where(here > 0, face, at))

    def _clearance(self, origin: Tensor, ray: Tensor, at: Tensor) -> Tensor:
        x, y, z = (origin[k] + at * ray[:, k] for k in range(3))
        return z - self.terrain.height(x, y)

    def _beside(self, x: Tensor, y: Tensor) -> Tensor:
        return locate(self.roads, x, y).beside

    def height_at(self, x: float, y: float) -> float:
        """Height of the terrain, without kerbs."""
        point = torch.tensor([[x, y]], dtype=torch.float64)
        return float(self.terrain.height(point[:, 0], point[:, 1])[0])

    def normal(self, x: Tensor, y: Tensor) -> Tensor:
        """Upward unit normals (N, 3)."""
        dx, dy = self.terrain.slope(x, y)
        normal = torch.stack([-dx, -dy, torch.ones_like(dx)], dim=-1)
        return normal / normal.square().sum(dim=-1, keepdim=True).sqrt()
