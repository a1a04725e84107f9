"""What surfaces look like: colours and patterns of everything, by formulas instead of pictures.

Patterns finer than a pixel fade into their mean; `footprint` is the width of a pixel on the surface in metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.ground import Ground
from stages.cache_teacher.datasets.street.noise import cells, hashed, smooth
from stages.cache_teacher.datasets.street.plot import Plot
from stages.cache_teacher.datasets.street.roads import OnRoads, locate
from stages.cache_teacher.datasets.street.solids import Material, Solids
from stages.cache_teacher.datasets.street.town import Town
from stages.cache_teacher.datasets.street.vectors import constant, picked, rotated

_STOREY_M = 3.1


@dataclass(frozen=True)
class Surface:
    """N surface points: linear RGB (3, N), light of their own (3, N), and how much they mirror the sky (N,)."""

    albedo: Tensor
    glow: Tensor
    gloss: Tensor


def ground_surface(town: Town, x: Tensor, y: Tensor, footprint: Tensor) -> Surface:
    """Roads with their marks, pavements, squares and what is between, at points (N,)."""
    on = locate(town.ground.roads, x, y)
    paved = on.beside < _per_road(town.ground, on.road, "pavement")
    if town.square is not None:
        paved = paved | _inside(town.square, x, y)
    carriageway = on.beside < -0.03  # the face of the kerb is its stone
    paved = paved & ~carriageway
    albedo = x.new_empty(3, len(x))
    for paint, there in ((_soil, ~(carriageway | paved)), (_paving, paved), (_asphalt, carriageway)):
        which = torch.nonzero(there)[:, 0]
        here = on.at(which), picked(x, which), picked(y, which), picked(footprint, which)
        albedo.index_copy_(1, which, paint(town, *here))
    if town.weather.wet == 0:
        return Surface(albedo, torch.zeros_like(albedo), torch.zeros_like(x))
    wet = town.weather.wet * (0.4 + 0.6 * smooth(x * 0.3, y * 0.3, town.number + 5)) * (carriageway | paved)
    return Surface(albedo * (1 - 0.45 * wet), torch.zeros_like(albedo), 0.5 * wet)


def solid_surface(
    solids: Solids, index: Tensor, q: Tensor, normal: Tensor, points: Tensor, footprint: Tensor, *, night: bool
) -> Surface:
    """The surfaces of solids (N,) at q (3, N) in their own coordinates, `points` (3, N) in the world."""
    colour, half = picked(solids.colour.T, index), picked(solids.half.T, index)
    local_normal = rotated(picked(solids.axes.permute(1, 2, 0), index), normal)
    here = _Here(colour, solids.seed[index], half, q, q * half, local_normal, points, footprint, night)
    material = solids.material[index]
    albedo, glow, gloss = torch.zeros_like(colour), solids.glow[index] * colour, torch.zeros_like(footprint)
    for kind in Material:
        which = torch.nonzero(material == kind)[:, 0]
        if len(which):
            painted = _PAINTERS.get(kind, _plain)(here.at(which))
            albedo.index_copy_(1, which, painted.albedo)
            glow.index_add_(1, which, painted.glow)
            gloss.index_copy_(0, which, painted.gloss)
    return Surface(albedo, glow, gloss)


@dataclass(frozen=True)
class _Here:
    colour: Tensor
    seed: Tensor
    half: Tensor
    q: Tensor
    metres: Tensor
    normal: Tensor
    points: Tensor
    footprint: Tensor
    night: bool

    def at(self, which: Tensor) -> _Here:
        tensors = {name: picked(value, which) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return _Here(**tensors, night=self.night)

    def chances(self, *salts: int) -> Tensor:
        return hashed(self.seed, torch.tensor(salts, device=self.seed.device)[:, None])

    def rgb(self, red: float, green: float, blue: float) -> Tensor:
        return constant((red, green, blue), self.colour)

    def matt(self, albedo: Tensor) -> Surface:
        return Surface(albedo, torch.zeros_like(albedo), torch.zeros_like(self.footprint))


def _plain(here: _Here) -> Surface:
    x, y, z = here.points
    return here.matt(here.colour * (0.92 + 0.16 * smooth(x * 2 + z, y * 2 - z, here.seed)))


def _facade(here: _Here) -> Surface:
    spacing, breadth, shopping, sill, bricks, belts, trims = here.chances(1, 2, 3, 4, 5, 6, 7)
    side = here.normal[0].abs() > here.normal[1].abs()
    wide = torch.where(side, here.half[1], here.half[0]) * 2
    along = torch.where(side, here.metres[1], here.metres[0]) + wide / 2
    high = here.metres[2] + here.half[2] - 0.3
    count = torch.floor(wide / (1.7 + 2.0 * spacing)).clamp(min=1)
    cell, storey = along / wide * count, high / _STOREY_M
    pitch = wide / count
    fx, fz = cell - torch.floor(cell), storey - torch.floor(storey)
    broad = 0.35 + 0.4 * breadth
    shop = (storey < 1) & (shopping < 0.45)
    broad = torch.where(shop, 0.85, broad)
    foot = torch.where(shop, 0.08, torch.where(sill < 0.25, 0.1, 0.3))
    top = torch.where(shop, 0.82, 0.78)
    edge = ((fx - 0.5).abs() * 2 - broad) * pitch / 2  # metres outside the window
    over = torch.maximum(foot - fz, fz - top) * _STOREY_M
    outside = torch.maximum(edge, over)
    blur = (here.footprint * 0.7).clamp(min=0.02)
    window = (0.5 - outside / blur).clamp(0, 1) * (high > 0)
    frame = (0.5 - (outside - 0.09) / blur).clamp(0, 1) * (high > 0) - window
    window_number = torch.floor(cell).to(torch.int32), torch.floor(storey).to(torch.int32)
    each = hashed(here.seed, *window_number)
    brick = torch.where(bricks < 0.4, 0.12, 0.0) * (1 - here.footprint / 0.12).clamp(0, 1)
    lines = (torch.remainder(high, 0.3) < 0.05) | (torch.remainder(along + torch.floor(high / 0.3) * 0.3, 0.6) < 0.04)
    grime = 0.8 + 0.3 * smooth(along * 0.25, high * 0.12, here.seed) + 0.1 * smooth(along * 3, high * 3, here.seed + 1)
    wall = here.colour * (grime - brick * lines)
    wall = torch.where(high < 0.7, wall * 0.65, wall)
    belt = (fz > 0.93) & (belts < 0.4)
    wall = torch.where(belt, wall * 1.25, wall)
    glass = torch.stack([0.035 + 0.05 * each, 0.045 + 0.055 * each, 0.06 + 0.06 * each])
    curtain = hashed(here.seed, *window_number, 9) < 0.3
    glass = torch.where(curtain, 0.25 + 0.2 * each, glass)
    trim = torch.where(trims < 0.5, here.rgb(0.6, 0.6, 0.58), here.colour * 0.4)
    albedo = wall * (1 - window - frame) + glass * window + trim * frame
    roof = here.normal[2].abs() > 0.7
    albedo = torch.where(roof, here.rgb(0.2, 0.19, 0.18), albedo)
    lit = window * (each > 0.62) * ~roof * here.night
    warm = here.rgb(1.0, 0.72, 0.36)
    return Surface(albedo, 0.5 * lit * warm * (0.4 + each), 0.35 * window * ~curtain * ~roof)


def _roof(here: _Here) -> Surface:
    rows = torch.remainder(here.metres[2] * 2.2, 1.0) < 0.25
    clear = (1 - here.footprint / 0.25).clamp(0, 1)
    shade = 0.85 + 0.3 * smooth(here.metres[0] * 1.5, here.metres[2] * 4, here.seed) - 0.25 * rows * clear
    gable = here.normal[0].abs() > 0.8
    return here.matt(torch.where(gable, here.rgb(0.42, 0.38, 0.33), here.colour * shade))


def _car(here: _Here) -> Surface:
    q = here.q
    low = q[2] < -0.55
    albedo = torch.where(low, here.rgb(0.02, 0.02, 0.02), here.colour)
    end = here.normal[0]
    corner = (q[1].abs() > 0.55) & (q[1].abs() < 0.97) & (q[2] > 0.0) & (q[2] < 0.75)
    front, rear = corner & (end > 0.7), corner & (end < -0.7)
    albedo = torch.where(front, here.rgb(0.7, 0.7, 0.66), albedo)
    albedo = torch.where(rear, here.rgb(0.4, 0.02, 0.02), albedo)
    plate = (end.abs() > 0.7) & (q[1].abs() < 0.28) & (q[2].abs() < 0.25)
    albedo = torch.where(plate, here.rgb(0.6, 0.6, 0.52), albedo)
    grille = (end > 0.7) & (q[1].abs() < 0.5) & (q[2] > 0.25) & (q[2] < 0.7)
    albedo = torch.where(grille, here.rgb(0.03, 0.03, 0.03), albedo)
    arch = (here.normal[1].abs() > 0.7) & (((q[0].abs() - 0.62).square() * 9 + (q[2] + 1).square() * 0.55) < 0.35)
    albedo = torch.where(arch, here.rgb(0.015, 0.015, 0.015), albedo)
    seam = (here.normal[1].abs() > 0.7) & ((q[0] + 0.02).abs() < 0.008) & (here.footprint < 0.03)
    albedo = torch.where(seam, albedo * 0.5, albedo)
    lights = front * here.rgb(2.0, 1.9, 1.6) + rear * here.rgb(0.8, 0.02, 0.02)
    return Surface(albedo, lights * (1.0 if here.night else 0.05), 0.22 * ~low * ~corner)


def _cabin(here: _Here) -> Surface:
    q = here.q
    tall = here.half[2] > 0.6
    sill = torch.where(tall, 0.15, -0.85)
    lintel = torch.where(tall, 0.8, 0.7)
    side = here.normal[1].abs() > 0.6
    pillars = torch.where(side, (torch.remainder(q[0] * 1.5 + 0.25, 1.0) - 0.5).abs() > 0.44, q[1].abs() > 0.88)
    pillars = pillars | (side & (q[0].abs() > 0.9))
    glass = (q[2] > sill) & (q[2] < lintel) & (here.normal[2] < 0.85) & ~pillars
    dark = here.rgb(0.025, 0.03, 0.035)
    return Surface(torch.where(glass, dark, here.colour), torch.zeros_like(here.colour), torch.where(glass, 0.45, 0.2))


def _cargo(here: _Here) -> Surface:
    ribs = 1 - 0.12 * (torch.remainder(here.metres[0] * 2, 1.0) < 0.15) * (1 - here.footprint / 0.3).clamp(0, 1)
    striped, *hue = here.chances(3, 4, 5, 6)
    stripe = (here.q[2].abs() < 0.25) & (striped < 0.6) & (here.normal[2].abs() < 0.5)
    return here.matt(torch.where(stripe, torch.stack(hue) * 0.6, here.colour * ribs))


def _tyre(here: _Here) -> Surface:
    rim = (here.q[0].square() + here.q[1].square() < 0.4) & (here.q[2].abs() > 0.95)
    return here.matt(torch.where(rim, here.rgb(0.3, 0.3, 0.31), here.colour))


def _leaves(here: _Here) -> Surface:
    x, y, z = here.points
    coarse = smooth(x * 2.1 + z, y * 2.1 - z, here.seed)
    fine = cells(x * 9 + 5 * z, y * 9 - 7 * z, here.seed) * (1 - here.footprint / 0.4).clamp(0.25, 1)
    depth = 0.6 + 0.4 * ((here.q[2] + 1) / 2).clamp(0, 1)
    return here.matt(here.colour * ((0.35 + 0.75 * coarse + 0.55 * fine) * depth))


def _bark(here: _Here) -> Surface:
    angle = torch.atan2(here.q[1], here.q[0])
    return here.matt(here.colour * (0.6 + 0.8 * smooth(angle * 5, here.metres[2] * 1.5, here.seed)))


def _sign(here: _Here) -> Surface:
    q = here.q
    lying = here.half[2] < here.half[1]  # a disc has its axis along z
    a, b = q[0], torch.where(lying, q[1], q[2])
    radius = torch.where(lying, a.square() + b.square(), torch.maximum(a.abs(), b.abs()).square())
    rim = (radius > 0.72) & (radius < 0.93)
    mark = (cells(a * 2 + 7, b * 3 + 5, here.seed) > 0.62) & (radius < 0.55)
    white = here.rgb(0.7, 0.7, 0.68)
    return Surface(torch.where(rim | mark, white, here.colour), torch.zeros_like(here.colour), torch.full_like(a, 0.05))


def _stone(here: _Here) -> Surface:
    x, y, z = here.points
    return here.matt(
        here.colour
        * (0.65 + 0.5 * cells(x * 2.2 + y * 1.7, z * 4, here.seed) + 0.2 * smooth(x * 6, z * 6 + y, here.seed))
    )


_PAINTERS = {
    Material.FACADE: _facade, Material.ROOF: _roof, Material.CAR: _car, Material.CABIN: _cabin, Material.TYRE: _tyre,
    Material.LEAVES: _leaves, Material.BARK: _bark, Material.SIGN: _sign, Material.HEDGE: _leaves,
    Material.FENCE: _stone, Material.CARGO: _cargo,
}  # fmt: skip


def _soil(town: Town, _on: OnRoads, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
    seed = town.number
    clear = (1 - footprint / 0.5).clamp(0.2, 1)
    shade = 0.65 + 0.45 * smooth(x * 0.35, y * 0.35, seed) + 0.35 * clear * (smooth(x * 4, y * 4, seed + 1) - 0.3)
    return torch.from_numpy(town.style.soil).to(x)[:, None] * shade


def _paving(town: Town, on: OnRoads, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
    along, left = on.along / 0.8, on.left / 0.8
    joint = (torch.remainder(along, 1.0) < 0.05) | (torch.remainder(left, 1.0) < 0.05)
    clear = (1 - footprint / 0.12).clamp(0, 1)
    shade = (
        0.86
        + 0.16 * cells(along, left, town.number) * clear
        + 0.12 * smooth(x, y, town.number + 2)
        - 0.2 * joint * clear
    )
    shade = torch.where(on.beside < 0.18, 1.25, shade)  # the kerb stone
    return torch.from_numpy(town.style.paving).to(x)[:, None] * shade


def _asphalt(town: Town, on: OnRoads, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
    seed = town.number
    grain = smooth(x * 9, y * 9, seed + 3) * (1 - footprint / 0.15).clamp(0, 1)
    worn = 0.82 + 0.3 * smooth(x * 0.25, y * 0.25, seed + 4) + 0.18 * (grain - 0.5)
    worn = worn * torch.where(cells(on.along / 7, on.left / 2.4, seed) < 0.08, 0.72, 1.0)  # mended spots
    grey = town.style.asphalt * worn
    tracks = 1 - 0.1 * torch.exp(-((on.left.abs() - 1.6) * 1.6).square())
    asphalt = grey * tracks * x.new_tensor([[1.0], [1.0], [1.03]])
    half_width = _per_road(town.ground, on.road, "half_width")
    marked, parking = _per_road(town.ground, on.road, "marked") > 0, _per_road(town.ground, on.road, "parking") > 0
    blur = footprint.clamp(min=0.02)
    line = (0.5 - (on.left.abs() - 0.07) / blur).clamp(0, 1) * (torch.remainder(on.along, 8.0) < 4.0) * marked
    bay = (0.5 - ((on.left.abs() - (half_width - 2.1)).abs() - 0.06) / blur).clamp(0, 1) * parking
    away = on.others > 4.5
    near = (on.others > 0.6) & (on.others < 3.6) & (on.road == 0)
    zebra = (
        (torch.remainder(on.left, 1.0) < 0.5) & near & (hashed(torch.floor(on.along / 30).to(torch.int32), seed) < 0.7)
    )
    stop = (on.others > 3.9) & (on.others < 4.3) & (on.left < 0) & (on.road == 0)
    paint = torch.maximum(torch.maximum(line, bay) * away, (zebra | stop).to(x.dtype))
    paint = paint * (0.5 + 0.6 * smooth(x * 3, y * 3, seed + 6)).clamp(0, 1)
    return torch.lerp(asphalt, torch.full_like(asphalt, 0.55), paint)


def _per_road(ground: Ground, road: Tensor, name: str) -> Tensor:
    return torch.tensor([float(getattr(each, name)) for each in ground.roads], device=road.device)[road]


def _inside(plot: Plot, x: Tensor, y: Tensor) -> Tensor:
    heading = torch.tensor(plot.heading)
    c, s = float(torch.cos(heading)), float(torch.sin(heading))
    dx, dy = x - plot.x, y - plot.y
    return ((dx * c + dy * s).abs() <= plot.half_along) & ((dy * c - dx * s).abs() <= plot.half_across)
