"""A car with six cameras and a LiDAR drives through a town."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stages.cache_teacher.datasets.street.casting import Tiles, tiled, untiled
from stages.cache_teacher.datasets.street.config import StreetConfig
from stages.cache_teacher.datasets.street.picture import Lens, look, picture, surfaces
from stages.cache_teacher.datasets.street.solids import Solids, joined
from stages.cache_teacher.datasets.street.town import AHEAD_M, Town, build_town
from stages.cache_teacher.datasets.street.traffic import own_car
from stages.cache_teacher.datasets.street.vectors import dot, rotated

CAMERAS = ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
"""DDAD's ring: front, front left, back left, back, back right, front right."""
TURN_S = 0.1
"""The LiDAR turns ten times a second; a camera is released when it looks the camera's way."""
LIDAR_UP_RAD, LIDAR_DOWN_RAD = 0.14, 0.39
START_US = 1_560_000_000_000_000
_SCENE_US = 1_000_000_000


@dataclass(frozen=True)
class StreetRig:
    """What the sensors saw, and the truth beside it. V cameras in ring order; `a_from_b` as in `RigFrames`."""

    cameras: tuple[str, ...]
    images: np.ndarray
    """(V, H, W, 3) uint8"""
    depth_m: np.ndarray
    """(V, H, W) float32: camera z in metres, inf for the sky, nan on the own car."""
    own_car: np.ndarray
    """(V, H, W) bool"""
    points: np.ndarray
    """(N, 4) float32: x, y, z in the LiDAR's frame at its time, intensity."""
    intrinsics_px: np.ndarray
    """(V, 3, 3) float64"""
    rig_from_camera: np.ndarray
    """(V, 4, 4) float64"""
    rig_from_lidar: np.ndarray
    """(4, 4) float64"""
    world_from_camera: np.ndarray
    """(V, 4, 4) float64, each at its own time."""
    world_from_lidar: np.ndarray
    """(4, 4) float64"""
    camera_time_us: np.ndarray
    """(V,) int64"""
    lidar_time_us: int


@dataclass(frozen=True)
class Mounting:
    """Where the sensors of a town's car sit, and how they see."""

    rig_from_camera: np.ndarray
    rig_from_lidar: np.ndarray
    intrinsics_px: np.ndarray
    lenses: tuple[Lens, ...]
    own_car: Solids


def drive(town: int, config: StreetConfig, rigs: int, device: str | torch.device = "cpu") -> Iterator[StreetRig]:
    """Consecutive rigs of one scene, the same for the same town and settings.

    Raises ValueError where the drive would leave the town.
    """
    place = build_town(town)
    reach = place.speed_mps * config.rig_interval_s * rigs
    if reach > AHEAD_M - 60:
        raise ValueError(
            f"{rigs} rigs every {config.rig_interval_s} s take {reach:.0f} m, and town {town} has room for "
            f"{AHEAD_M - 60:.0f} m; take fewer rigs of a town or a shorter interval"
        )
    mounting = _mounting(np.random.default_rng([0xCA7, town]), config, place)
    for number in range(rigs):
        yield _rig(place, mounting, config, number, device)


def _rig(town: Town, mounting: Mounting, config: StreetConfig, number: int, device: str | torch.device) -> StreetRig:
    now_s = number * config.rig_interval_s
    world_from_rig = _pose(town, now_s)
    world_from_lidar = world_from_rig @ mounting.rig_from_lidar
    images, depths, own = [], [], []
    poses, times = [], []
    for view, rig_from_camera in enumerate(mounting.rig_from_camera):
        azimuth = np.arctan2(rig_from_camera[1, 2], rig_from_camera[0, 2])
        at_s = now_s + TURN_S * float(azimuth) / (2 * np.pi)
        rig_then = _pose(town, at_s)
        world_from_camera = rig_then @ rig_from_camera
        solids, first_own = _all_solids(town, mounting, rig_then, at_s, device)
        image, depth, solid = picture(
            world_from_camera, mounting.intrinsics_px[view], (config.height, config.width), solids, town,
            mounting.lenses[view], seed=town.number * 1009 + number * 6 + view,
        )  # fmt: skip
        mine = solid >= first_own
        images.append(image)
        depths.append(np.where(mine, np.float32(np.nan), depth))
        own.append(mine)
        poses.append(world_from_camera)
        times.append(_microseconds(town, at_s))
    return StreetRig(
        cameras=CAMERAS,
        images=np.stack(images),
        depth_m=np.stack(depths),
        own_car=np.stack(own),
        points=_sweep(town, mounting, config, world_from_rig, now_s, number, device),
        intrinsics_px=mounting.intrinsics_px,
        rig_from_camera=mounting.rig_from_camera,
        rig_from_lidar=mounting.rig_from_lidar,
        world_from_camera=np.stack(poses),
        world_from_lidar=world_from_lidar,
        camera_time_us=np.array(times, np.int64),
        lidar_time_us=_microseconds(town, now_s),
    )


def _sweep(
    town: Town, mounting: Mounting, config: StreetConfig, world_from_rig: np.ndarray, at_s: float, number: int,
    device: str | torch.device,
) -> np.ndarray:  # fmt: skip
    """One turn of the LiDAR, all at one time, as if the driver had made up for the car's own motion."""
    world_from_lidar = world_from_rig @ mounting.rig_from_lidar
    solids, first_own = _all_solids(town, mounting, world_from_rig, at_s, device)
    random = np.random.default_rng([0x11DA2, town.number, number])
    elevation = torch.linspace(LIDAR_UP_RAD, -LIDAR_DOWN_RAD, config.lidar_beams, dtype=torch.float64)
    azimuth = torch.arange(config.lidar_columns, dtype=torch.float64) * (2 * np.pi / config.lidar_columns)
    e, a = torch.meshgrid(elevation, azimuth, indexing="ij")
    beam = torch.stack([torch.cos(e) * torch.cos(a), torch.cos(e) * torch.sin(a), torch.sin(e)])
    pose = torch.from_numpy(world_from_lidar)
    direction = rotated(pose[:3, :3, None, None], beam).float().to(device)
    origin = pose[:3, 3].float().to(device)
    rays = Tiles(origin, tiled(direction))
    seen = look(rays, solids, town, config.lidar_range_m)
    surface, normal, _ = surfaces(rays, seen, solids, town, pixel_rad=0.003)
    shape = (config.lidar_beams, config.lidar_columns)
    distance = untiled(seen.distance, *shape).cpu().numpy().astype(np.float64)
    mine = untiled(seen.solid, *shape).cpu().numpy() >= first_own
    cosine = dot(normal, rays.direction).abs()
    strength = untiled(surface.albedo.mean(dim=0) * (0.3 + 0.7 * cosine), *shape).cpu().numpy().astype(np.float64)
    returned = np.where(np.isfinite(distance), strength * np.exp(-2 * distance / town.weather.visibility_m), 0)
    lost = config.lidar_dropout + np.clip(0.5 - 25 * returned, 0, 0.5) + (distance / config.lidar_range_m) ** 4 * 0.5
    kept = np.isfinite(distance) & ~mine & (distance < config.lidar_range_m) & (random.random(shape) > lost)
    measured = distance + random.normal(0, config.lidar_noise_m, shape)
    points = beam.numpy()[:, kept] * measured[kept]
    return np.concatenate([points, returned[kept][None]]).T.astype(np.float32, order="C")


def _all_solids(
    town: Town, mounting: Mounting, world_from_rig: np.ndarray, at_s: float, device: str | torch.device
) -> tuple[Solids, int]:
    """Everything that stands or moves at a time, and the index from which on it is the own car."""
    parts = [town.standing, town.movers.at(at_s, town.ground), mounting.own_car.placed(world_from_rig)]
    return joined(parts).to(device), len(parts[0]) + len(parts[1])


def _pose(town: Town, at_s: float) -> np.ndarray:
    """world_from_rig (4, 4): the rig stands on the road, tilted as the ground is."""
    x, y, heading = town.main_road.at(town.speed_mps * at_s, town.lane_left_m)
    point = torch.tensor([x], dtype=torch.float64), torch.tensor([y], dtype=torch.float64)
    up = town.ground.terrain.slope(*point)
    upward = np.array([-float(up[0]), -float(up[1]), 1.0])
    upward /= np.linalg.norm(upward)
    forward = np.array([np.cos(heading), np.sin(heading), 0.0])
    forward -= upward * (forward @ upward)
    forward /= np.linalg.norm(forward)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = forward, np.cross(upward, forward), upward
    pose[:3, 3] = x, y, town.ground.height_at(x, y)
    return pose


def _mounting(random: np.random.Generator, config: StreetConfig, town: Town) -> Mounting:
    """Six cameras on the roof, 60° apart but for a degree or two, and the LiDAR in their middle."""
    positions = [(0.9, 0.0), (0.55, 0.5), (-0.75, 0.5), (-1.15, 0.0), (-0.75, -0.5), (0.55, -0.5)]
    exposure = {True: 3.0, False: 0.95}[town.weather.night] / max(town.weather.ambient / 0.4, 0.5) ** 0.5
    exposure *= float(random.uniform(0.8, 1.25))
    tint = random.uniform(0.95, 1.05, 3)
    cameras, intrinsics, lenses = [], [], []
    for k, (x, y) in enumerate(positions):
        yaw, pitch, roll = np.deg2rad(np.array([60.0 * k, 3.5, 0.0]) + random.normal(0, [1.0, 0.7, 0.4]))
        place = np.array([x, y, 1.58]) + random.normal(0, 0.02, 3)
        cameras.append(_camera_pose(place, yaw, pitch, roll))
        intrinsics.append(_intrinsics(random, config))
        lenses.append(
            Lens(
                exposure=exposure * float(random.uniform(0.93, 1.07)),
                vignetting=float(random.uniform(0.1, 0.45)),
                grain=float(random.uniform(0.004, 0.014)) * (2.0 if town.weather.night else 1.0),
                tint=tuple((tint * random.uniform(0.98, 1.02, 3)).tolist()),
            )
        )
    rig_from_lidar = np.eye(4)
    rig_from_lidar[:3, 3] = np.array([-0.05, 0.0, 1.95]) + random.normal(0, 0.02, 3)
    return Mounting(np.stack(cameras), rig_from_lidar, np.stack(intrinsics), tuple(lenses), own_car(random))


def _camera_pose(place: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """rig_from_camera: the camera's z axis looks along `yaw`, `pitch` down; x is right, y down."""
    c, s = np.cos(yaw), np.sin(yaw)
    forward = np.array([c * np.cos(pitch), s * np.cos(pitch), -np.sin(pitch)])
    right = np.array([s, -c, 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = -np.sin(roll) * right + np.cos(roll) * down
    pose[:3, 2], pose[:3, 3] = forward, place
    return pose


def _intrinsics(random: np.random.Generator, config: StreetConfig) -> np.ndarray:
    focal = config.width / 2 / np.tan(np.deg2rad(config.horizontal_fov_deg + random.normal(0, 0.5)) / 2)
    centre = np.array([config.width, config.height]) / 2 + random.normal(0, 0.006, 2) * config.width
    return np.array([[focal, 0, centre[0]], [0, focal * random.normal(1, 0.001), centre[1]], [0, 0, 1]])


def _microseconds(town: Town, at_s: float) -> int:
    return START_US + town.number % 100_000 * _SCENE_US + round((at_s + TURN_S) * 1e6)
