"""A small dataset of one's own, as docs/folder.md describes it, written from the embedded world."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.cache_teacher.datasets.street.config import StreetConfig
from stages.cache_teacher.datasets.street.drive import StreetRig, drive

SCENES = {"monday": ("train", 3), "tuesday": ("train", 5), "wednesday": ("val", 90_003)}
RIGS = 2
WORLD = StreetConfig(height=48, width=80, lidar_beams=16, lidar_columns=160)
CAMERAS = ("front", "front_left", "back_left", "back", "back_right", "front_right")

Write = Callable[[Path, np.ndarray], None]


def write_folder_world(root: Path, ending: str = ".bin", write: Write | None = None) -> Path:
    """Write three scenes of two rigs, with point clouds of some form, by default (N, 4) float32.

    The car of each scene is its own, by centimetres, so each has a calibration beside that of the dataset.
    """
    splits: dict[str, list[str]] = {}
    for scene, (split, town) in SCENES.items():
        splits.setdefault(split, []).append(scene)
        rigs = list(drive(town, WORLD, RIGS))
        described = [_write_rig(root / scene, f"{i:03d}", rig, ending, write or _bin) for i, rig in enumerate(rigs)]
        content = {"conditions": ["dusk"], **_mounting(rigs[0]), "rigs": described}
        (root / scene / "scene.json").write_text(json.dumps(content))
    dataset = {"name": "mine", "version": "1", **_mounting(rigs[0]), "splits": splits}
    (root / "dataset.json").write_text(json.dumps(dataset))
    return root


def _mounting(car: StreetRig) -> dict[str, Any]:
    cameras = {
        name: {"intrinsics": car.intrinsics_px[i].tolist(), "car_from_camera": car.rig_from_camera[i].tolist()}
        for i, name in enumerate(CAMERAS)
    }
    return {"cameras": cameras, "lidar": {"car_from_lidar": car.rig_from_lidar.tolist()}}


def _write_rig(folder: Path, sample: str, rig: StreetRig, ending: str, write: Write) -> dict[str, Any]:
    cars = rig.world_from_camera @ np.linalg.inv(rig.rig_from_camera)
    for camera, image in zip(CAMERAS, rig.images, strict=True):
        path = folder / camera / f"{sample}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=95)
    (folder / "lidar").mkdir(exist_ok=True)
    write(folder / "lidar" / f"{sample}{ending}", rig.points)
    return {
        "sample": sample,
        "timestamp": rig.lidar_time_us,
        "images": {camera: f"{camera}/{sample}.jpg" for camera in CAMERAS},
        "points": f"lidar/{sample}{ending}",
        "world_from_car": (rig.world_from_lidar @ np.linalg.inv(rig.rig_from_lidar)).tolist(),
        "world_from_car_at_image": {camera: car.tolist() for camera, car in zip(CAMERAS, cars, strict=True)},
    }


def _bin(path: Path, points: np.ndarray) -> None:
    path.write_bytes(points.astype("<f4").tobytes())
