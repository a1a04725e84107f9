"""Rendered rigs on disk in nuScenes' format: its tables, keyframes with six images, and sweeps between them.

A pixel's centre has whole coordinates in nuScenes and half ones in street, so principal points move by half a pixel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from PIL import Image

from stages.cache_teacher.datasets.street import StreetRig
from tests.dgp_world import quaternion_of

CHANNELS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT", "CAM_FRONT_RIGHT")
"""In the order of a street rig's cameras."""
LIDAR_TOP = "LIDAR_TOP"

_TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample", "sample_annotation",
    "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip

Json = dict[str, Any]


class NuscenesWriter:
    """Writes scenes, and at last the tables, which make a readable dataset of them."""

    def __init__(self, root: Path, version: str, *, images_between: bool = False) -> None:
        self._root = root
        self._images_between = images_between
        self._version = version
        self._tables: dict[str, list[Json]] = {name: [] for name in _TABLES}
        self._splits: dict[str, list[str]] = {}
        self._sensors = {
            channel: self._add(
                "sensor", channel, channel=channel, modality="lidar" if channel == LIDAR_TOP else "camera"
            )
            for channel in (*CHANNELS, LIDAR_TOP)
        }

    def add_scene(
        self, split: str, name: str, rigs: Iterable[StreetRig], *, keyframe_every: int = 1, description: str = ""
    ) -> None:
        """Write a scene. Of the rigs between keyframes only the sweep is kept, unless `images_between`."""
        log = self._add("log", name, logfile=name, vehicle="street", date_captured="2019-01-01", location="street")
        scene = _token("scene", name)
        samples: list[Json] = []
        shots: dict[str, list[Json]] = {}
        mounted: dict[str, str] = {}
        for number, rig in enumerate(rigs):
            if not mounted:
                mounted = self._mount(name, rig)
            is_keyframe = number % keyframe_every == 0
            if is_keyframe:
                token = self._add("sample", name, str(number), timestamp=rig.lidar_time_us, scene_token=scene)
                samples.append(self._tables["sample"][-1])
            for shot in self._write_rig(name, rig, mounted, token, is_keyframe=is_keyframe):
                shots.setdefault(shot["calibrated_sensor_token"], []).append(shot)
        for records in (samples, *shots.values()):
            _link(records)
        self._tables["scene"].append(
            {
                "token": scene,
                "log_token": log,
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": name,
                "description": description,
            }
        )
        self._splits.setdefault(split, []).append(name)

    def finish(self, *, own_splits: bool = True) -> None:
        """Write the tables, and with `own_splits` which scenes are in which split."""
        picture = self._root / "maps" / "street.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(picture)
        logs = [log["token"] for log in self._tables["log"]]
        self._add("map", "street", category="semantic_prior", filename="maps/street.png", log_tokens=logs)
        folder = self._root / self._version
        folder.mkdir(parents=True, exist_ok=True)
        for name, records in self._tables.items():
            (folder / f"{name}.json").write_text(json.dumps(records, indent=1) + "\n")
        if own_splits:
            (folder / "splits.json").write_text(json.dumps(self._splits, indent=1) + "\n")

    def _mount(self, scene: str, rig: StreetRig) -> dict[str, str]:
        """Enter where the sensors of a scene's car are; returns their tokens by channel."""
        centred_px = rig.intrinsics_px.copy()
        centred_px[:, :2, 2] -= 0.5
        intrinsics = dict(zip(CHANNELS, centred_px.tolist(), strict=True)) | {LIDAR_TOP: []}
        placed = dict(zip(CHANNELS, rig.rig_from_camera, strict=True)) | {LIDAR_TOP: rig.rig_from_lidar}
        return {
            channel: self._add(
                "calibrated_sensor",
                scene,
                channel,
                sensor_token=self._sensors[channel],
                camera_intrinsic=intrinsics[channel],
                **_placement(placed[channel]),
            )
            for channel in placed
        }

    def _write_rig(
        self, scene: str, rig: StreetRig, mounted: Mapping[str, str], sample: str, *, is_keyframe: bool
    ) -> list[Json]:
        kind = "samples" if is_keyframe else "sweeps"
        sweep = f"{kind}/{LIDAR_TOP}/{scene}__{LIDAR_TOP}__{rig.lidar_time_us}.pcd.bin"
        path = self._root / sweep
        path.parent.mkdir(parents=True, exist_ok=True)
        points = np.zeros((len(rig.points), 5), np.float32)
        points[:, :4] = rig.points
        path.write_bytes(points.tobytes())
        car = rig.world_from_lidar @ np.linalg.inv(rig.rig_from_lidar)
        shots = [self._shot(scene, LIDAR_TOP, sweep, rig.lidar_time_us, car, mounted, sample, (0, 0), is_keyframe)]
        for view, channel in enumerate(CHANNELS if is_keyframe or self._images_between else ()):
            time_us = int(rig.camera_time_us[view])
            picture = f"{kind}/{channel}/{scene}__{channel}__{time_us}.jpg"
            (self._root / picture).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rig.images[view]).save(self._root / picture, quality=95)
            car = rig.world_from_camera[view] @ np.linalg.inv(rig.rig_from_camera[view])
            size_hw = rig.images[view].shape[:2]
            shots.append(self._shot(scene, channel, picture, time_us, car, mounted, sample, size_hw, is_keyframe))
        return shots

    def _shot(
        self, scene: str, channel: str, filename: str, time_us: int, global_from_ego: Float64[np.ndarray, "4 4"],
        mounted: Mapping[str, str], sample: str, size_hw: tuple[int, int], is_keyframe: bool,
    ) -> Json:  # fmt: skip
        pose = self._add("ego_pose", scene, channel, str(time_us), timestamp=time_us, **_placement(global_from_ego))
        self._add(
            "sample_data",
            scene,
            channel,
            str(time_us),
            sample_token=sample,
            ego_pose_token=pose,
            calibrated_sensor_token=mounted[channel],
            timestamp=time_us,
            fileformat="pcd" if channel == LIDAR_TOP else "jpg",
            is_key_frame=is_keyframe,
            height=size_hw[0],
            width=size_hw[1],
            filename=filename,
        )
        return self._tables["sample_data"][-1]

    def _add(self, table: str, *names: str, **fields: Any) -> str:
        """Enter a record that the names identify; returns its token."""
        token = _token(table, *names)
        self._tables[table].append({"token": token, **fields})
        return token


def _link(records: Sequence[Json]) -> None:
    """Every record names the one before and the one after it."""
    for record in records:
        record["prev"] = record["next"] = ""
    for earlier, later in pairwise(records):
        earlier["next"], later["prev"] = later["token"], earlier["token"]


def _placement(matrix: Float64[np.ndarray, "4 4"]) -> Json:
    return {"rotation": quaternion_of(matrix[:3, :3]), "translation": matrix[:3, 3].tolist()}


def _token(*names: str) -> str:
    """32 hexadecimal digits, as nuScenes names things."""
    return hashlib.md5("\x00".join(names).encode(), usedforsecurity=False).hexdigest()
