"""A picture and its depth map: rays cast, surfaces lit by sun, sky and lamps, seen through air and a lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.casting import (
    NOTHING,
    Tiles,
    first_hit,
    in_shadow,
    normal_at,
    tiled,
    untiled,
)
from stages.cache_teacher.datasets.street.noise import hashed, smooth
from stages.cache_teacher.datasets.street.solids import Solids
from stages.cache_teacher.datasets.street.surface import Surface, ground_surface, solid_surface
from stages.cache_teacher.datasets.street.town import Town
from stages.cache_teacher.datasets.street.vectors import constant, dot, length_of, picked, rotated

REACH_M = 260.0
_LAMPS = 10
_LAMP_COLOUR = (1.0, 0.70, 0.38)


@dataclass(frozen=True)
class Lens:
    """How a camera turns light into numbers."""

    exposure: float
    vignetting: float
    """Light lost in the corners."""
    grain: float
    """Standard deviation of the noise, of 1 for white."""
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class Seen:
    """What rays meet: distances in lengths of the rays' directions, and which solid (see `casting`)."""

    distance: Tensor
    """(T, R); inf for the sky."""
    solid: Tensor
    """(T, R) index, NOTHING for the ground and the sky."""


def look(rays: Tiles, solids: Solids, town: Town, reach_m: float = REACH_M) -> Seen:
    """The first thing that each ray meets; solids further away than `reach_m` are left out."""
    distance, solid = first_hit(rays, solids, reach_m)
    ground = town.ground.first_hit(rays.origin, rays.direction, distance)
    return Seen(torch.minimum(distance, ground), torch.where(distance <= ground, solid, NOTHING))


def picture(
    world_from_camera: np.ndarray,
    K: np.ndarray,
    size_hw: tuple[int, int],
    solids: Solids,
    town: Town,
    lens: Lens,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB (H, W, 3) uint8, camera-z depth (H, W) float32 in metres (inf: sky), and the solid's index (H, W)."""
    height, width = size_hw
    device = solids.centre.device
    u, v = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    ahead = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)]).float()
    pose = torch.from_numpy(world_from_camera).float()
    direction = rotated(pose[:3, :3, None, None], ahead).to(device)  # of length 1 along z: distances are depths
    origin = pose[:3, 3].to(device)
    rays = Tiles(origin, tiled(direction))
    seen = look(rays, solids, town)
    light = radiance(rays, seen, solids, town, pixel_rad=float(1 / K[0, 0]))
    image = _developed(untiled(light, height, width), town, lens, seed)
    depth = untiled(seen.distance, height, width)
    return image.cpu().numpy(), depth.cpu().numpy().astype(np.float32), untiled(seen.solid, height, width).cpu().numpy()


def surfaces(rays: Tiles, seen: Seen, solids: Solids, town: Town, pixel_rad: float) -> tuple[Surface, Tensor, Tensor]:
    """Surface, unit normal (3, T, R) and position (3, T, R) of all that is seen; zeros for the sky."""
    hit = seen.distance < torch.inf
    reached = torch.where(hit, seen.distance, 0)
    points = rays.origin[:, None, None] + rays.direction * reached
    length = length_of(rays.direction)
    width = length * reached * pixel_rad  # of a pixel, across the ray
    normal, albedo, glow = torch.zeros_like(points), torch.zeros_like(points), torch.zeros_like(points)
    gloss = torch.zeros_like(reached)
    on_solid = seen.solid != NOTHING
    which = _where(hit & ~on_solid)
    if len(which):
        where, ray = _of(points, which), _of(rays.direction, which)
        facing = town.ground.normal(where[0], where[1])
        tilt = dot(facing, ray).abs() / _of(length, which)
        found = ground_surface(town, where[0], where[1], _of(width, which) / tilt.clamp(min=0.05).sqrt())
        _put((normal, albedo, glow, gloss), which, (facing, found.albedo, found.glow, found.gloss))
    which = _where(on_solid)
    if len(which):
        where, index = _of(points, which), _of(seen.solid, which)
        facing, q = normal_at(where, index, solids)
        found = solid_surface(solids, index, q, facing, where, _of(width, which), night=town.weather.night)
        _put((normal, albedo, glow, gloss), which, (facing, found.albedo, found.glow, found.gloss))
    return Surface(albedo, glow, gloss), normal, points


def _where(rays: Tensor) -> Tensor:
    """Numbers (N,) of the rays (T, R) for which something holds."""
    return torch.nonzero(rays.flatten())[:, 0]


def _of(values: Tensor, which: Tensor) -> Tensor:
    """(…, T, R) for the rays with those numbers: (…, N)."""
    return picked(values.flatten(-2), which)


def _put(values: Sequence[Tensor], which: Tensor, new: Sequence[Tensor]) -> None:
    """Replace values (…, T, R) of the rays with those numbers by new ones (…, N)."""
    for each, part in zip(values, new, strict=True):
        each.view(*each.shape[:-2], -1).index_copy_(-1, which, part)


def radiance(rays: Tiles, seen: Seen, solids: Solids, town: Town, pixel_rad: float) -> Tensor:
    """Linear light (3, T, R) along rays."""
    weather = town.weather
    surface, normal, points = surfaces(rays, seen, solids, town, pixel_rad)
    hit = seen.distance < torch.inf
    length = length_of(rays.direction)
    toward = rays.direction / length
    sun = points.new_tensor(weather.sun)
    direct = dot(normal, sun[:, None, None]).clamp(min=0)
    if max(weather.sun_colour) > 0.2:
        shaded = in_shadow(points + 0.02 * normal, hit & (direct > 0), solids, sun)
        direct = direct.masked_fill(shaded, 0.0)
    above = normal[2] * 0.5 + 0.5
    horizon, zenith = constant(weather.horizon_colour, points), constant(weather.sky_colour, points)
    upward = torch.lerp(horizon * 0.7, zenith, 0.5)
    grey = upward.mean()
    sky_light = weather.ambient * (0.35 + 0.65 * above) * (0.5 + 0.5 * upward / grey.clamp(min=1e-6))
    light = sky_light + direct * constant(weather.sun_colour, points)
    if weather.night or weather.headlights > 0:
        light = light + _lamp_light(points, normal, rays, town)
    mirror, mirrored = _reflected(toward, normal, surface.gloss, town)
    colour = surface.albedo * light * (1 - mirror) + mirrored + surface.glow
    haze = 1 - torch.exp(-torch.where(hit, seen.distance, 0) * length / weather.visibility_m)
    colour = torch.lerp(colour, torch.lerp(horizon, zenith, 0.15), haze)
    beyond = _where(~hit)
    _put([colour], beyond, [sky(_of(toward, beyond), town)])
    return colour


def _reflected(toward: Tensor, normal: Tensor, gloss: Tensor, town: Town) -> tuple[Tensor, Tensor]:
    """How much (T, R) surfaces mirror in a direction (3, T, R), and the sky's light (3, T, R) in them."""
    mirror, light = torch.zeros_like(gloss), torch.zeros_like(normal)
    which = _where(gloss > 0)
    toward, normal = _of(toward, which), _of(normal, which)
    cosine = dot(toward, normal)
    share = _of(gloss, which) * (0.35 + 0.65 * (1 - cosine.abs()).clamp(0, 1) ** 3)
    _put([mirror, light], which, [share, share * sky(toward - 2 * cosine * normal, town) * 0.8])
    return mirror, light


def sky(direction: Tensor, town: Town) -> Tensor:
    """Light of the sky (3, N) in unit directions (3, N)."""
    weather = town.weather
    horizon, zenith = constant(weather.horizon_colour, direction), constant(weather.sky_colour, direction)
    z = direction[2].clamp(min=0.0)
    colour = torch.lerp(horizon, zenith, 1 - torch.exp(-4.5 * z))
    far = 1 / (z + 0.08)
    x, y = direction[0] * far, direction[1] * far
    billows = 0.6 * smooth(x * 0.9, y * 0.9, town.number) + 0.4 * smooth(x * 2.7, y * 2.7, town.number + 1)
    cover = ((billows - (0.95 - weather.clouds)) * 3).clamp(0, 1) * (z > 0.01)
    colour = torch.lerp(colour, horizon * (0.75 + 0.4 * billows), 0.85 * cover)
    toward_sun = dot(direction, constant(weather.sun, direction)).clamp(min=0)
    halo = 0.25 * toward_sun**16 + 3 * (toward_sun > 0.9993)
    return colour + halo * constant(weather.sun_colour, direction) * (1 - cover)


def _lamp_light(points: Tensor, normal: Tensor, rays: Tiles, town: Town) -> Tensor:
    """Street lamps near the camera, and the car's own headlights, which need no shadows from where it stands."""
    total = torch.zeros_like(points)
    weather = town.weather
    lamps = town.lamps.to(points.device)
    if weather.night and len(lamps):
        order = length_of(lamps.T - rays.origin[:, None]).argsort()[:_LAMPS]
        for lamp in lamps[order]:
            beam = lamp[:, None, None] - points
            square = dot(beam, beam)
            cosine = dot(beam, normal).clamp(min=0) / square.clamp(min=0.25).sqrt()
            total = total + 9.0 * cosine / (2 + square) * constant(_LAMP_COLOUR, points)
    beam = points - rays.origin[:, None, None]
    square = dot(beam, beam).clamp(min=1.0)
    cosine = (-dot(beam, normal) / square.sqrt()).clamp(min=0.15)
    low = (0.5 - beam[2] / square.sqrt() * 6).clamp(0, 1)
    head = weather.headlights * 60 * cosine * low / (60 + square)
    return total + head * constant((1.0, 0.97, 0.9), points)


def _developed(light: Tensor, town: Town, lens: Lens, seed: int) -> Tensor:
    """8-bit sRGB-like values (H, W, 3) of linear light (3, H, W)."""
    _, height, width = light.shape
    v = torch.linspace(-1, 1, height, device=light.device)[:, None]
    u = torch.linspace(-1, 1, width, device=light.device)
    fall = 1 - lens.vignetting * (u.square() + v.square()) / 2
    exposed = light * (lens.exposure * fall) * constant(lens.tint, light)
    if town.weather.rain > 0:
        x, y = (u + 1) * width / 2, (v + 1) * height / 2
        streaks = smooth(x * 0.55 + y * 0.06, y * 0.035 + 0.6 * x, seed)
        exposed = exposed + town.weather.rain * 0.35 * (streaks - 0.72).clamp(min=0) * town.weather.ambient
    mapped = exposed / (1 + 0.25 * exposed)
    encoded = mapped.clamp(0, 1) ** (1 / 2.2)
    i, j = torch.arange(height, device=light.device)[:, None], torch.arange(width, device=light.device)
    noise = hashed(i, j, seed) + hashed(i, j, seed, 1) + hashed(i, j, seed, 2) - 1.5  # nearly normal, σ = 1/2
    noisy = encoded + 2 * lens.grain * noise * (1.2 - encoded)
    return (noisy.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
