"""A small world on disk in DDAD's format (DGP v1), for tests that need a dataset but not the real one.

A car circles through a walled square with boxes in it. Six cameras in DDAD's ring and a spinning LiDAR look
at the same geometry by casting rays, so images, points and poses agree with each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Json = dict[str, Any]

RING = ("CAMERA_01", "CAMERA_05", "CAMERA_07", "CAMERA_09", "CAMERA_08", "CAMERA_06")
FRONT_CAMERAS = ("CAMERA_01", "CAMERA_05", "CAMERA_06")

_YAW_DEG = dict(zip(RING, (0.0, 52.0, 122.0, 180.0, -122.0, -52.0), strict=True))
_VIEW_DEG = {camera: 50.0 if camera == "CAMERA_01" else 85.0 for camera in RING}
_CAMERA_DELAY_S = dict(zip(RING, (-0.02, -0.012, -0.004, 0.004, 0.012, 0.02), strict=True))

_START = datetime(2019, 5, 15, tzinfo=UTC)
_SAMPLE_PERIOD_S = 0.1
_CIRCLE_RADIUS_M = 12.0
_TURN_RAD_PER_S = 0.5
_SKY = 0
_GROUND = 1


def write_dgp_world(
    root: Path,
    *,
    scenes: int = 2,
    samples: int = 2,
    size_hw: tuple[int, int] = (96, 160),
    seed: int = 0,
    incomplete_scene: bool = False,
) -> Path:
    """Write a dataset into `root`, which is made, and return `root`.

    The last scene is the split val, the others are train (a single scene is both). `incomplete_scene` adds
    to train a scene "incomplete" that has front cameras only.
    """
    files = [
        _write_scene(root / f"{index:06d}", build_town(seed, index), RING, samples, size_hw) for index in range(scenes)
    ]
    train, val = files[:-1] or files, files[-1:]
    if incomplete_scene:
        train.append(_write_scene(root / "incomplete", build_town(seed, scenes), FRONT_CAMERAS, samples, size_hw))
    _write_json(
        root / "ddad.json",
        {
            "metadata": {"name": "dgp_world", "version": "1"},
            "scene_splits": {
                number: {"filenames": [str(file.relative_to(root)) for file in split]}
                for number, split in (("0", train), ("1", val))
            },
        },
    )
    return root


@dataclass(frozen=True)
class Town:
    """Axis-aligned boxes on the ground z = 0, in metres, with a colour each; the car starts at an angle."""

    low: np.ndarray
    high: np.ndarray
    colours: np.ndarray
    start_rad: float

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many `directions` (N, 3) away the first surface is, inf for the sky, and which surface it is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = 1.0 / np.ascontiguousarray(directions.T)
            distance = np.where(directions[:, 2] < 0, -origin[2] * steps[2], np.inf)
            surface = np.where(np.isfinite(distance), _GROUND, _SKY)
            for index, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
                a, b = (low - origin)[:, None] * steps, (high - origin)[:, None] * steps
                enter, leave = reduce(np.maximum, np.minimum(a, b)), reduce(np.minimum, np.maximum(a, b))
                hit = (enter > 0) & (enter < leave) & (enter < distance)
                distance[hit], surface[hit] = enter[hit], _GROUND + 1 + index
        return distance, surface

    def colour(self, points: np.ndarray, surface: np.ndarray) -> np.ndarray:
        """RGB (N, 3) of surface points: a checkerboard of 1 m with finer waves, in the surface's colour."""
        x, y, z = (points + 0.013).T
        checks = (np.floor(x) + np.floor(y) + np.floor(z)) % 2
        waves = np.sin(3.1 * x) * np.sin(2.7 * y + 1.3 * z)
        rgb: np.ndarray = self.colours[surface] * (0.7 + 0.25 * checks + 0.05 * waves)[:, None]
        return rgb


def build_town(seed: int, scene: int) -> Town:
    """The town of a scene: four walls, and boxes inside and outside the car's circle."""
    rng = np.random.default_rng([seed, scene])
    walls_low = np.array([[-41, -41, 0], [-41, 40, 0], [-41, -40, 0], [40, -40, 0]], dtype=float)
    walls_high = np.array([[41, -40, 9], [41, 41, 6], [-40, 40, 8], [41, 40, 7]], dtype=float)
    radius = np.concatenate([rng.uniform(0, 6, 3), rng.uniform(18, 30, 7)])
    angle = rng.uniform(0, 2 * np.pi, 10)
    centre = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    half = rng.uniform(0.4, 2.0, (10, 2))
    boxes_low = np.column_stack([centre - half, np.zeros(10)])
    boxes_high = np.column_stack([centre + half, rng.uniform(1.0, 6.0, 10)])
    colours = rng.uniform(60, 240, (len(walls_low) + 10 + 2, 3))
    colours[_SKY], colours[_GROUND] = (150, 190, 235), (120, 120, 115)
    return Town(
        low=np.concatenate([walls_low, boxes_low]),
        high=np.concatenate([walls_high, boxes_high]),
        colours=colours,
        start_rad=float(rng.uniform(0, 2 * np.pi)),
    )


def render(
    town: Town, world_from_camera: np.ndarray, intrinsics_px: np.ndarray, size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 and the depth z (H, W) in metres, inf for the sky, at the pixels' centres."""
    height, width = size_hw
    v, u = np.mgrid[:height, :width].reshape(2, -1) + 0.5
    rays = np.stack([u, v, np.ones_like(u)], axis=1) @ np.linalg.inv(intrinsics_px).T
    directions = rays @ world_from_camera[:3, :3].T
    depth, surface = town.cast(world_from_camera[:3, 3], directions)
    points = world_from_camera[:3, 3] + np.where(np.isfinite(depth), depth, 0.0)[:, None] * directions
    image = np.where(surface[:, None] == _SKY, town.colours[_SKY], town.colour(points, surface))
    return image.astype(np.uint8).reshape(height, width, 3), depth.reshape(height, width)


def _sweep(town: Town, world_from_lidar: np.ndarray) -> np.ndarray:
    """X, Y, Z, intensity (N, 4) float32 of one turn of 32 beams, in the LiDAR's frame."""
    azimuth, elevation = np.meshgrid(
        np.radians(np.arange(0, 360, 2.0)), np.radians(np.linspace(-25, 10, 32)), indexing="ij"
    )
    flat = np.cos(elevation)
    beams = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)
    distance, surface = town.cast(world_from_lidar[:3, 3], beams @ world_from_lidar[:3, :3].T)
    hit = surface != _SKY
    points = beams[hit] * distance[hit, None]
    return np.column_stack([points, surface[hit]]).astype(np.float32)


def _world_from_rig(town: Town, seconds: float) -> np.ndarray:
    angle = town.start_rad + _TURN_RAD_PER_S * seconds
    position = (_CIRCLE_RADIUS_M * np.cos(angle), _CIRCLE_RADIUS_M * np.sin(angle), 0.0)
    forward, left = (-np.sin(angle), np.cos(angle), 0.0), (-np.cos(angle), -np.sin(angle), 0.0)
    return _transform(forward, left, (0.0, 0.0, 1.0), position)


def _rig_from_camera(camera: str) -> np.ndarray:
    yaw = np.radians(_YAW_DEG[camera])
    position = (0.8 + 0.6 * np.cos(yaw), 0.5 * np.sin(yaw), 1.55)
    return _transform((np.sin(yaw), -np.cos(yaw), 0.0), (0.0, 0.0, -1.0), (np.cos(yaw), np.sin(yaw), 0.0), position)


def _rig_from_lidar() -> np.ndarray:
    return _transform((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0), (0.9, 0.0, 1.9))


def _transform(x: Sequence[float], y: Sequence[float], z: Sequence[float], origin: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([x, y, z, origin])
    return matrix


def _intrinsics(camera: str, size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    focal = width / 2 / np.tan(np.radians(_VIEW_DEG[camera] / 2))
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def _write_scene(folder: Path, town: Town, cameras: Sequence[str], samples: int, size_hw: tuple[int, int]) -> Path:
    calibration_key = _write_calibration(folder, cameras, size_hw)
    start = _START + timedelta(seconds=1000 * town.start_rad)
    data, sample_entries = [], []
    for index in range(samples):
        seconds = index * _SAMPLE_PERIOD_S
        datums = [_write_sweep(folder, town, start, seconds)]
        datums += [_write_image(folder, town, start, seconds, camera, size_hw) for camera in cameras]
        data += datums
        sample_entries.append(
            {
                "id": {"index": "0", "log": "", "name": "", "timestamp": datums[0]["id"]["timestamp"]},
                "calibration_key": calibration_key,
                "datum_keys": [datum["key"] for datum in datums],
                "metadata": {},
            }
        )
    scene = {"name": folder.name, "log": "", "metadata": {}, "ontologies": {}, "data": data, "samples": sample_entries}
    return _write_json(folder / f"scene_{_digest(scene)}.json", scene)


def _write_calibration(folder: Path, cameras: Sequence[str], size_hw: tuple[int, int]) -> str:
    matrices = [_intrinsics(camera, size_hw) for camera in cameras]
    calibration = {
        "names": ["LIDAR", *cameras],
        "intrinsics": [
            {"fx": 0.0, "fy": 0.0, "cx": 0.0, "cy": 0.0, "skew": 0.0},
            *({"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], "skew": 0.0} for K in matrices),
        ],
        "extrinsics": [_pose(_rig_from_lidar()), *(_pose(_rig_from_camera(camera)) for camera in cameras)],
    }
    key = _digest(calibration)
    _write_json(folder / "calibration" / f"{key}.json", calibration)
    return key


def _write_sweep(folder: Path, town: Town, start: datetime, seconds: float) -> Json:
    world_from_lidar = _world_from_rig(town, seconds) @ _rig_from_lidar()
    time = start + timedelta(seconds=seconds)
    filename = f"point_cloud/LIDAR/{_microseconds(time)}.npz"
    _make_parent(folder / filename)
    np.savez_compressed(folder / filename, data=_sweep(town, world_from_lidar))
    value = {"filename": filename, "point_format": ["X", "Y", "Z", "INTENSITY"], "pose": _pose(world_from_lidar)}
    return _datum("LIDAR", time, {"point_cloud": value})


def _write_image(
    folder: Path, town: Town, start: datetime, seconds: float, camera: str, size_hw: tuple[int, int]
) -> Json:
    seconds += _CAMERA_DELAY_S[camera]
    world_from_camera = _world_from_rig(town, seconds) @ _rig_from_camera(camera)
    time = start + timedelta(seconds=seconds)
    filename = f"rgb/{camera}/{_microseconds(time)}.jpg"
    image, _ = render(town, world_from_camera, _intrinsics(camera, size_hw), size_hw)
    _make_parent(folder / filename)
    Image.fromarray(image).save(folder / filename, quality=95)
    height, width = size_hw
    value = {"filename": filename, "height": height, "width": width, "channels": 3, "pose": _pose(world_from_camera)}
    return _datum(camera, time, {"image": value})


def _datum(name: str, time: datetime, value: Json) -> Json:
    timestamp = time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    key = _digest([name, timestamp])
    return {"key": key, "id": {"index": "0", "log": "", "name": name, "timestamp": timestamp}, "datum": value}


def _pose(matrix: np.ndarray) -> Json:
    w, x, y, z = quaternion_of(matrix[:3, :3])
    tx, ty, tz = matrix[:3, 3].tolist()
    return {"rotation": {"qw": w, "qx": x, "qy": y, "qz": z}, "translation": {"x": tx, "y": ty, "z": tz}}


def quaternion_of(R: np.ndarray) -> list[float]:
    """Unit quaternion (w, x, y, z) of a rotation: the main eigenvector of a 4×4 matrix (Bar-Itzhack 2000)."""
    symmetric = R + R.T - np.trace(R) * np.eye(3)
    turn = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    _, vectors = np.linalg.eigh(np.block([[np.trace(R), turn], [turn[:, None], symmetric]]))
    return [float(component) for component in vectors[:, -1]]


def _microseconds(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _digest(content: object) -> str:
    return hashlib.sha1(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_json(path: Path, content: object) -> Path:
    _make_parent(path)
    path.write_text(json.dumps(content, indent=2))
    return path


def _make_parent(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
