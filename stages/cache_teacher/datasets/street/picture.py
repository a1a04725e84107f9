"""A picture and its depth map: rays cast, surfaces lit by sun, sky and lamps, seen through air and a lens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.cache_teacher.datasets.street.casting import (
    NOTHING,
    Tiles,
    distance_of,
    first_hit,
    in_shadow,
    normal_at,
    tiled,
    untiled,
)  # fmt: skip
from stages.cache_teacher.datasets.street.noise import hashed, smooth
from stages.cache_teacher.datasets.street.solids import Solids
from stages.cache_teacher.datasets.street.surface import Surface, ground_surface, solid_surface
from stages.cache_teacher.datasets.street.town import Town

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
    ground = town.ground.first_hit(rays.origin, rays.direction)
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
    ahead = torch.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], torch.ones_like(u)], dim=2).float()
    rotation = torch.from_numpy(world_from_camera[:3, :3]).float()
    direction = (rotation * ahead[:, :, None, :]).sum(dim=3).to(device)  # of length 1 along z: distances are depths
    origin = torch.from_numpy(world_from_camera[:3, 3]).float().to(device)
    rays = Tiles(origin, tiled(direction))
    seen = look(rays, solids, town)
    light = radiance(rays, seen, solids, town, pixel_rad=float(1 / K[0, 0]))
    image = _developed(untiled(light, height, width), town, lens, seed)
    depth = untiled(seen.distance, height, width)
    return image.cpu().numpy(), depth.cpu().numpy().astype(np.float32), untiled(seen.solid, height, width).cpu().numpy()


def surfaces(rays: Tiles, seen: Seen, solids: Solids, town: Town, pixel_rad: float) -> tuple[Surface, Tensor, Tensor]:
    """Surface, unit normal (T, R, 3) and position (T, R, 3) of all that is seen; zeros for the sky."""
    hit = seen.distance.isfinite()
    points = rays.origin + rays.direction * torch.where(hit, seen.distance, 0)[:, :, None]
    away = distance_of(rays.direction) * torch.where(hit, seen.distance, 0)
    normal, albedo, glow = torch.zeros_like(points), torch.zeros_like(points), torch.zeros_like(points)
    gloss = torch.zeros_like(away)
    on_ground = hit & (seen.solid == NOTHING)
    where = points[on_ground]
    if len(where):
        normal[on_ground] = town.ground.normal(where[:, 0], where[:, 1])
        tilt = (normal[on_ground] * rays.direction[on_ground]).sum(dim=1).abs() / distance_of(rays.direction[on_ground])
        footprint = away[on_ground] * pixel_rad / tilt.clamp(min=0.05).sqrt()
        found = ground_surface(town, where[:, 0], where[:, 1], footprint)
        albedo[on_ground], glow[on_ground], gloss[on_ground] = found.albedo, found.glow, found.gloss
    on_solid = hit & (seen.solid != NOTHING)
    where = points[on_solid]
    if len(where):
        index = seen.solid[on_solid]
        facing, q = normal_at(where, index, solids)
        normal[on_solid] = facing
        footprint = away[on_solid] * pixel_rad
        found = solid_surface(solids, index, q, facing, where, footprint, night=town.weather.night)
        albedo[on_solid], glow[on_solid], gloss[on_solid] = found.albedo, found.glow, found.gloss
    return Surface(albedo, glow, gloss), normal, points


def radiance(rays: Tiles, seen: Seen, solids: Solids, town: Town, pixel_rad: float) -> Tensor:
    """Linear light (T, R, 3) along rays."""
    weather = town.weather
    surface, normal, points = surfaces(rays, seen, solids, town, pixel_rad)
    hit = seen.distance.isfinite()
    length = distance_of(rays.direction)
    toward = rays.direction / length[:, :, None]
    sun = points.new_tensor(weather.sun)
    facing = (normal * sun).sum(dim=2).clamp(min=0)
    direct = facing
    if max(weather.sun_colour) > 0.2:
        lit = hit & (facing > 0)
        shaded = in_shadow(points + 0.02 * normal, lit, solids, sun)
        direct = torch.where(shaded, 0.0, facing)
    above = normal[:, :, 2] * 0.5 + 0.5
    upward = torch.lerp(points.new_tensor(weather.horizon_colour) * 0.7, points.new_tensor(weather.sky_colour), 0.5)
    grey = upward.mean()
    sky_light = weather.ambient * (0.35 + 0.65 * above)[:, :, None] * (0.5 + 0.5 * upward / grey.clamp(min=1e-6))
    light = sky_light + direct[:, :, None] * points.new_tensor(weather.sun_colour)
    if weather.night or weather.headlights > 0:
        light = light + _lamp_light(points, normal, rays, town)
    mirrored = toward - 2 * (toward * normal).sum(dim=2, keepdim=True) * normal
    fresnel = (1 - (toward * normal).sum(dim=2).abs()).clamp(0, 1) ** 3
    mirror = (surface.gloss * (0.35 + 0.65 * fresnel))[:, :, None]
    colour = surface.albedo * light * (1 - mirror) + mirror * sky(mirrored, town) * 0.8 + surface.glow
    away = torch.where(hit, seen.distance, 0) * length
    haze = 1 - torch.exp(-away / weather.visibility_m)
    air = torch.lerp(points.new_tensor(weather.horizon_colour), points.new_tensor(weather.sky_colour), 0.15)
    colour = torch.lerp(colour, air.expand_as(colour), haze[:, :, None])
    return torch.where(hit[:, :, None], colour, sky(toward, town))


def sky(direction: Tensor, town: Town) -> Tensor:
    """Light of the sky (…, 3) in unit directions (…, 3)."""
    weather = town.weather
    z = direction[..., 2].clamp(min=0.0)
    blend = (1 - torch.exp(-4.5 * z))[..., None]
    colour = torch.lerp(direction.new_tensor(weather.horizon_colour), direction.new_tensor(weather.sky_colour), blend)
    far = 1 / (z + 0.08)
    x, y = direction[..., 0] * far, direction[..., 1] * far
    billows = 0.6 * smooth(x * 0.9, y * 0.9, town.number) + 0.4 * smooth(x * 2.7, y * 2.7, town.number + 1)
    cover = ((billows - (0.95 - weather.clouds)) * 3).clamp(0, 1) * (z > 0.01)
    cloud = direction.new_tensor(weather.horizon_colour) * (0.75 + 0.4 * billows)[..., None]
    colour = torch.lerp(colour, cloud, (0.85 * cover)[..., None])
    toward_sun = (direction * direction.new_tensor(weather.sun)).sum(dim=-1).clamp(min=0)
    halo = 0.25 * toward_sun**16 + 3 * (toward_sun > 0.9993)
    return colour + halo[..., None] * direction.new_tensor(weather.sun_colour) * (1 - cover)[..., None]


def _lamp_light(points: Tensor, normal: Tensor, rays: Tiles, town: Town) -> Tensor:
    """Street lamps near the camera, and the car's own headlights, which need no shadows from where it stands."""
    total = torch.zeros_like(points)
    weather = town.weather
    lamps = town.lamps.to(points.device)
    if weather.night and len(lamps):
        order = distance_of(lamps - rays.origin).argsort()[:_LAMPS]
        for lamp in lamps[order]:
            beam = lamp - points
            square = beam.square().sum(dim=2)
            cosine = (beam * normal).sum(dim=2).clamp(min=0) / square.clamp(min=0.25).sqrt()
            total = total + (9.0 * cosine / (2 + square))[:, :, None] * points.new_tensor(_LAMP_COLOUR)
    beam = points - rays.origin
    square = beam.square().sum(dim=2).clamp(min=1.0)
    cosine = (-(beam * normal).sum(dim=2) / square.sqrt()).clamp(min=0.15)
    low = (0.5 - beam[:, :, 2] / square.sqrt() * 6).clamp(0, 1)
    head = weather.headlights * 60 * cosine * low / (60 + square)
    return total + head[:, :, None] * points.new_tensor([1.0, 0.97, 0.9])


def _developed(light: Tensor, town: Town, lens: Lens, seed: int) -> Tensor:
    """8-bit sRGB-like values of linear light (H, W, 3)."""
    height, width, _ = light.shape
    v, u = torch.meshgrid(
        torch.linspace(-1, 1, height, device=light.device),
        torch.linspace(-1, 1, width, device=light.device),
        indexing="ij",
    )
    fall = 1 - lens.vignetting * (u.square() + v.square()) / 2
    exposed = light * (lens.exposure * fall)[:, :, None] * light.new_tensor(lens.tint)
    if town.weather.rain > 0:
        x, y = (u + 1) * width / 2, (v + 1) * height / 2
        streaks = smooth(x * 0.55 + y * 0.06, y * 0.035 + 0.6 * x, seed)
        exposed = (
            exposed + (town.weather.rain * 0.35 * (streaks - 0.72).clamp(min=0) * town.weather.ambient)[:, :, None]
        )
    mapped = exposed / (1 + 0.25 * exposed)
    encoded = mapped.clamp(0, 1) ** (1 / 2.2)
    i, j = torch.meshgrid(
        torch.arange(height, device=light.device), torch.arange(width, device=light.device), indexing="ij"
    )
    noise = hashed(i, j, seed) + hashed(i, j, seed, 1) + hashed(i, j, seed, 2) - 1.5  # nearly normal, σ = 1/2
    noisy = encoded + (2 * lens.grain * noise)[:, :, None] * (1.2 - encoded)
    return (noisy.clamp(0, 1) * 255).round().to(torch.uint8)
