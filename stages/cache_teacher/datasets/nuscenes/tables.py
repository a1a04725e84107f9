"""The tables of a nuScenes dataset, read once with the devkit, as keyframes scene by scene."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import IncompleteSample
from stages.cache_teacher.datasets.nuscenes.devkit import NuScenes, Quaternion, create_splits_scenes, transform_matrix
from stages.cache_teacher.datasets.nuscenes.sample import NuscenesSample, Placement, Reading
from stages.cache_teacher.datasets.raw_files import REMEDY, FilesOnDisk
from stages.cache_teacher.datasets.ring import Ring, ring_from_calibration

LIDAR = "LIDAR_TOP"
MAX_NORM_ERROR = 1e-3
_OFFICIAL = {"mini": {"train": "mini_train", "val": "mini_val"}, "trainval": {"train": "train", "val": "val"}}
_OFFICIAL["test"] = {"test": "test"}
_UNUSED = ("attribute", "category", "instance", "sample_annotation", "visibility")
_OWN_SPLITS = "splits.json"

EVALUATION_SPLITS = ("val", "test")
"""Splits that are scored on: one sweep a keyframe, and no keyframe left out because the car stands."""


@dataclass(frozen=True)
class Keyframe:
    """One keyframe of a scene, complete or not."""

    found: NuscenesSample | IncompleteSample
    position_m: tuple[float, float, float] | None
    """Where the car was in the world; None where no sensor says so."""


@dataclass(frozen=True)
class Scene:
    """One scene: its keyframes in order, and what its description says."""

    name: str
    description: str
    keyframes: tuple[Keyframe, ...]


@dataclass(frozen=True)
class Tables:
    """What is kept of the tables."""

    ring: Ring
    scenes: Mapping[str, Scene]
    """By name, in the order of the table."""
    splits: Mapping[str, tuple[str, ...]]
    """Names of the scenes on disk of each split that has any."""


def find_version(root: Path, version: str | None) -> str:
    """The version to read, which may be left out where there is one. Raises DatasetError where it is not there."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the folder of nuScenes, with samples and v1.0-…")
    found = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    if version is None and len(found) == 1:
        return found[0]
    if version is not None and (root / version).is_dir():
        return version
    asked = "no version was asked for" if version is None else f"has no version {version!r}"
    there = f"it has {', '.join(found)}: pass one with --version" if found else "it has none; extract the metadata"
    raise DatasetError(f"{root}: {asked}; expected a folder of tables such as v1.0-mini; {there}")


def read_tables(root: Path, version: str, *, lidar: bool, sweeps: int) -> Tables:
    """Read the tables of a version; a keyframe to train from comes with up to `sweeps` − 1 sweeps before its own.

    A keyframe whose file is not on disk is as incomplete as one that has no entry. Raises DatasetError where a table
    is missing, damaged or does not fit the others, or an earlier sweep is not on disk.
    """
    folder = root / version
    nusc = _load(root, version, sweeps=lidar and sweeps > 1)
    with _fitting(folder):
        splits = _splits(folder, [record["name"] for record in nusc.scene])
        scored = {name for split in EVALUATION_SPLITS for name in splits.get(split, ())}
        reader = _Reader(nusc, _ring(nusc), FilesOnDisk(root), lidar=lidar)
        scenes = {
            record["name"]: Scene(
                record["name"],
                record["description"],
                tuple(reader.keyframes(record, 1 if record["name"] in scored else sweeps)),
            )
            for record in nusc.scene
        }
    return Tables(ring=reader.ring, scenes=scenes, splits=splits)


class _Needed(NuScenes):  # type: ignore[misc]
    """The devkit's database without what no rig needs: of v1.0-trainval's tables nine tenths.

    A record that is not needed is dropped as soon as it is parsed; parsing is most of the time that opening takes.
    """

    def __init__(self, *, sweeps: bool, **settings: Any) -> None:
        self._sweeps = sweeps
        super().__init__(**settings)

    def __load_table__(self, table_name: str) -> list[Any]:
        """A table by name, as the devkit asks for it."""
        if table_name in _UNUSED:
            return []
        if table_name == "ego_pose":
            self.sample_data = self._parse("sample_data", self._is_needed)
            poses = {record["ego_pose_token"] for record in self.sample_data}
            return self._parse("ego_pose", lambda record: record["token"] in poses)
        return self.sample_data if table_name == "sample_data" else self._parse(table_name, lambda _: True)

    def _parse(self, table_name: str, needed: Callable[[dict[str, Any]], bool]) -> list[Any]:
        with open(Path(self.table_root, f"{table_name}.json"), encoding="utf-8") as file:
            records = json.load(file, object_hook=lambda record: record if needed(record) else None)
        return [record for record in records if record is not None]

    def _is_needed(self, record: dict[str, Any]) -> bool:
        """Keyframes' images and sweeps and, where they are asked for, the sweeps in between."""
        if "/RADAR_" in record["filename"]:
            return False
        return record["is_key_frame"] or (self._sweeps and f"/{LIDAR}/" in record["filename"])


def _load(root: Path, version: str, *, sweeps: bool) -> NuScenes:
    try:
        return _Needed(sweeps=sweeps, version=version, dataroot=str(root), verbose=False)
    except FileNotFoundError as error:
        raise DatasetError(f"{error.filename}: is missing; expected a table of nuScenes {version}; {REMEDY}") from error
    except (OSError, AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
        found = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DatasetError(
            f"{root / version}: nuscenes-devkit cannot read its tables ({found}); "
            f"expected nuScenes {version}, with its maps; {REMEDY}"
        ) from error


@contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """Tables that name what is not there, or lack a field, become a DatasetError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{folder}: its tables do not fit together ({type(error).__name__}: {error}); {REMEDY}"
        ) from error


def _ring(nusc: NuScenes) -> Ring:
    """The ring of the cameras that a calibration names first; cars of one dataset differ by millimetres."""
    mounted: dict[str, Any] = {}
    for record in nusc.calibrated_sensor:
        sensor = nusc.get("sensor", record["sensor_token"])
        if sensor["modality"] == "camera":
            mounted.setdefault(sensor["channel"], record)
    if not mounted:
        raise ValueError("calibrated_sensor.json has no camera")
    return ring_from_calibration(
        {
            channel: transform_matrix(np.array(record["translation"]), Quaternion(record["rotation"]))
            for channel, record in mounted.items()
        },
        {channel: np.array(_intrinsics(record), dtype=np.float32) for channel, record in mounted.items()},
    )


class _Reader:
    """Goes through the tables, scene by scene."""

    def __init__(self, nusc: NuScenes, ring: Ring, files: FilesOnDisk, *, lidar: bool) -> None:
        self.ring = ring
        self._nusc = nusc
        self._files = files
        self._lidar = lidar

    def keyframes(self, scene: Mapping[str, Any], sweeps: int) -> Iterator[Keyframe]:
        """The keyframes of a scene in order."""
        token = scene["first_sample_token"]
        for _ in range(scene["nbr_samples"]):
            sample = self._nusc.get("sample", token)
            yield self._keyframe(scene["name"], sample, sweeps)
            token = sample["next"]

    def _keyframe(self, scene: str, sample: Mapping[str, Any], sweeps: int) -> Keyframe:
        records = {channel: self._nusc.get("sample_data", token) for channel, token in sample["data"].items()}
        there = {name: self._reading(record) for name, record in records.items() if record["filename"] in self._files}
        needed = (*self.ring.cameras, LIDAR) if self._lidar else self.ring.cameras
        clock = there.get(LIDAR) or next(iter(there.values()), None)
        position_m = None if clock is None else clock.global_from_ego.translation_m
        if lacks := tuple(channel for channel in needed if channel not in there):
            return Keyframe(IncompleteSample(scene, sample["token"], lacks), position_m)
        found = NuscenesSample(
            scene=scene,
            sample=sample["token"],
            timestamp=sample["timestamp"],
            cameras=tuple(there[camera] for camera in self.ring.cameras),
            lidar=there.get(LIDAR),
            earlier_sweeps=tuple(self._earlier(records[LIDAR], sweeps - 1)) if self._lidar else (),
        )
        return Keyframe(found, position_m)

    def _earlier(self, sweep: Mapping[str, Any], count: int) -> Iterator[Reading]:
        """Up to `count` sweeps before one, the latest first."""
        for _ in range(count):
            if not sweep["prev"]:
                return
            sweep = self._nusc.get("sample_data", sweep["prev"])
            if sweep["filename"] not in self._files:
                raise DatasetError(
                    f"{sweep['filename']}: is not there; expected the sweeps between keyframes; extract them too, or "
                    "leave out --sweeps"
                )
            yield self._reading(sweep)

    def _reading(self, record: Mapping[str, Any]) -> Reading:
        mounted = self._nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
        return Reading(
            filename=record["filename"],
            timestamp=record["timestamp"],
            ego_from_sensor=_placement(mounted),
            global_from_ego=_placement(self._nusc.get("ego_pose", record["ego_pose_token"])),
            intrinsics_px=_intrinsics(mounted),
        )


def _intrinsics(record: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """The 3×3 pinhole matrix; empty for a sensor that is no camera."""
    matrix = tuple(tuple(map(float, row)) for row in record["camera_intrinsic"])
    if matrix and ([len(row) for row in matrix] != [3, 3, 3] or not np.isfinite(matrix).all()):
        raise ValueError(f"{record['token']} has the intrinsics {matrix}, expected 3 × 3 finite numbers")
    return matrix


def _placement(record: Mapping[str, Any]) -> Placement:
    w, x, y, z = map(float, record["rotation"])
    px, py, pz = map(float, record["translation"])
    norm = math.hypot(w, x, y, z)
    if not all(map(math.isfinite, (px, py, pz))) or not abs(norm - 1) <= MAX_NORM_ERROR:
        raise ValueError(
            f"pose {record['token']} is {record['rotation']}, {record['translation']}; expected a rotation"
        )
    return Placement((w, x, y, z), (px, py, pz))


def _splits(folder: Path, scenes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Scenes by split: those of the dataset's own splits.json, where there is one, else the official ones."""
    named = _own_splits(folder)
    if named is None:
        official = _OFFICIAL.get(folder.name.rsplit("-", 1)[-1], {})
        every = create_splits_scenes()
        named = {name: every[devkit_name] for name, devkit_name in official.items()}
    splits = {name: tuple(scene for scene in scenes if scene in listed) for name, listed in named.items()}
    splits = {name: listed for name, listed in splits.items() if listed}
    if not splits:
        raise DatasetError(
            f"{folder}: none of its {len(scenes)} scenes is in an official split of this version; name the splits of "
            f'a dataset of your own in {folder / _OWN_SPLITS}, {{"train": ["<scene>", …], "val": […]}}'
        )
    return splits


def _own_splits(folder: Path) -> Mapping[str, Sequence[str]] | None:
    path = folder / _OWN_SPLITS
    if not path.exists():
        return None
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(scene) for scene in listed] for name, listed in splits.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DatasetError(f'{path}: expected {{"train": ["<scene>", …], "val": […]}} ({error}); mend it') from error
