"""The tables of a nuScenes dataset, read once, as keyframes scene by scene."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cache_schema.errors import DatasetError
from stages.cache_teacher.config import NuscenesSettings
from stages.cache_teacher.datasets.base import IncompleteSample
from stages.cache_teacher.datasets.nuscenes.between import nearest_in_time
from stages.cache_teacher.datasets.nuscenes.devkit import Quaternion, transform_matrix
from stages.cache_teacher.datasets.nuscenes.records import (
    CAMERAS,
    LIDAR,
    REMEDY,
    TABLE_FILES,
    CalibratedSensor,
    Placed,
    Records,
    SampleData,
    SampleRecord,
    SceneRecord,
    read_records,
)
from stages.cache_teacher.datasets.nuscenes.sample import NuscenesSample, Placement, Reading
from stages.cache_teacher.datasets.nuscenes.splits import EVALUATION_SPLITS, scenes_by_split
from stages.cache_teacher.datasets.raw_files import FilesOnDisk
from stages.cache_teacher.datasets.ring import Ring, ring_from_calibration

SWEEPS_REMEDY = "; extract the sweeps between keyframes too, or leave out --sweeps"


@dataclass(frozen=True)
class Frame:
    """A keyframe of a scene, or the images between keyframes that are nearest in time; complete or not."""

    found: NuscenesSample | IncompleteSample
    position_m: tuple[float, float, float] | None
    """Where the car was in the world; None where no sensor says so."""
    spread_us: int = 0
    """From the first to the last image between keyframes."""
    repeats: bool = False
    """Whether the frame before has one of the images."""


@dataclass(frozen=True)
class Scene:
    """One scene: its frames in order, and what its description says."""

    name: str
    description: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Tables:
    """What is kept of the tables."""

    ring: Ring
    scenes: Mapping[str, Scene]
    """By name, in the order of the table."""
    splits: Mapping[str, tuple[str, ...]]
    """Names of the scenes that are there of each split that has any."""
    absent_splits: tuple[str, ...]
    """Splits none of whose scenes is there."""
    files: FilesOnDisk
    """What was listed to know which files are there."""


def find_version(root: Path, version: str | None) -> str:
    """The version to read, which may be left out where there is one. Raises DatasetError where it is not there."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the folder of nuScenes, with samples and v1.0-…")
    found = sorted({path.parent.name for file in TABLE_FILES for path in root.glob(f"*/{file}")})
    if version is None and len(found) == 1:
        return found[0]
    if version is not None and (root / version).is_dir():
        return version
    if not found and any((root / file).is_file() for file in TABLE_FILES):
        above = root.absolute().parent
        raise DatasetError(
            f"{root}: is a folder of tables; expected the one above it, which has samples too: pass --root {above} "
            f"--version {root.absolute().name}"
        )
    asked = "no version was asked for" if version is None else f"has no version {version!r}"
    there = f"it has {', '.join(found)}: pass one with --version" if found else "it has none; extract the metadata"
    raise DatasetError(f"{root}: {asked}; expected a folder of tables such as v1.0-mini; {there}")


def read_tables(root: Path, version: str, settings: NuscenesSettings, *, lidar: bool) -> Tables:
    """Read the tables of a version: its keyframes, or what is between them.

    With `lidar`, a keyframe to train from comes with up to `settings.sweeps` − 1 sweeps before its own.
    A keyframe whose file or earlier sweep is not on disk is as incomplete as one that has no entry. Raises
    DatasetError where a table is missing, damaged or does not fit the others.
    """
    earlier_sweeps = LIDAR if lidar and settings.sweeps > 1 else None
    records = read_records(root / version, between=CAMERAS if settings.between_keyframes else earlier_sweeps)
    scenes = records.scene.records.values()
    splits = scenes_by_split(root / version, [scene.name for scene in scenes])
    scored = {name for split in EVALUATION_SPLITS for name in splits.get(split, ())}
    reader = _Reader(records, root, lidar=lidar)
    kept = {
        scene.name: Scene(
            scene.name,
            scene.description,
            tuple(
                reader.between(scene)
                if settings.between_keyframes
                else reader.keyframes(scene, 1 if scene.name in scored else settings.sweeps)
            ),
        )
        for scene in scenes
    }
    return Tables(
        ring=reader.ring,
        scenes=kept,
        splits={name: names for name, names in splits.items() if names},
        absent_splits=tuple(name for name, names in splits.items() if not names),
        files=reader.files,
    )


def _ring(records: Records) -> Ring:
    """The ring of the cameras that a calibration names first; cars of one dataset differ by millimetres."""
    mounted: dict[str, CalibratedSensor] = {}
    table = records.calibrated_sensor
    for record in table.records.values():
        sensor = table.follow(record, "sensor_token", records.sensor)
        if sensor.modality == "camera":
            if not record.camera_intrinsic:
                raise table.wrong(record, "camera_intrinsic", f"expected 3 × 3 numbers for {sensor.channel}")
            mounted.setdefault(sensor.channel, record)
    if not mounted:
        raise DatasetError(f"{table.path}: has no camera; expected those of the ring; {REMEDY}")
    return ring_from_calibration(
        {
            channel: transform_matrix(np.array(record.translation), Quaternion(record.rotation))
            for channel, record in mounted.items()
        },
        {channel: np.array(record.camera_intrinsic, dtype=np.float32) for channel, record in mounted.items()},
    )


class _Reader:
    """Goes through the tables, scene by scene."""

    def __init__(self, records: Records, root: Path, *, lidar: bool) -> None:
        self.ring = _ring(records)
        self._records = records
        self._root = root
        self.files = FilesOnDisk(root)
        self._lidar = lidar

    @cached_property
    def _keyframe_shots(self) -> dict[str, dict[str, SampleData]]:
        """The images and sweeps of keyframes, by sample and channel."""
        shots: dict[str, dict[str, SampleData]] = defaultdict(dict)
        for shot in self._records.sample_data.records.values():
            if shot.is_key_frame:
                shots[self._sample(shot).token][self._channel(shot)] = shot
        return shots

    @cached_property
    def _scene_shots(self) -> dict[str, dict[str, list[SampleData]]]:
        """All images and sweeps that are kept, by scene and channel."""
        shots: dict[str, dict[str, list[SampleData]]] = defaultdict(lambda: defaultdict(list))
        for shot in self._records.sample_data.records.values():
            shots[self._sample(shot).scene_token][self._channel(shot)].append(shot)
        return shots

    def between(self, scene: SceneRecord) -> Iterator[Frame]:
        """What the cameras saw between a scene's keyframes, by the images of the first camera, in order."""
        found = self._scene_shots[scene.token]
        if lacks := tuple(camera for camera in self.ring.cameras if not found[camera]):
            yield Frame(IncompleteSample(scene.name, "", tuple(f"images of {camera}" for camera in lacks)), None)
            return
        series = [sorted(found[camera], key=lambda shot: shot.timestamp) for camera in self.ring.cameras]
        times_us = [np.array([shot.timestamp for shot in each], np.int64) for each in series]
        for indices, spread_us, repeats in nearest_in_time(times_us):
            shots = [each[i] for each, i in zip(series, indices.tolist(), strict=True)]
            if not shots[0].is_key_frame:
                yield self._between(scene.name, shots, spread_us, repeats=repeats)

    def _between(self, scene: str, shots: Sequence[SampleData], spread_us: int, *, repeats: bool) -> Frame:
        first, readings = shots[0], tuple(map(self._reading, shots))
        wrong = zip(self.ring.cameras, map(self._lacks, shots), strict=True)
        lacks = tuple(f"{camera} ({reason})" for camera, reason in wrong if reason)
        found = (
            IncompleteSample(scene, first.token, lacks)
            if lacks
            else NuscenesSample(scene, first.token, first.timestamp, cameras=readings, lidar=None)
        )
        return Frame(found, readings[0].global_from_ego.translation_m, spread_us, repeats)

    def keyframes(self, scene: SceneRecord, sweeps: int) -> Iterator[Frame]:
        """The keyframes of a scene in order."""
        scenes, samples = self._records.scene, self._records.sample
        sample = scenes.follow(scene, "first_sample_token", samples)
        for number in range(1, scene.nbr_samples + 1):
            if sample.scene_token != scene.token:
                raise samples.wrong(
                    sample, "scene_token", f"expected the token of the scene that leads to it, {scene.token}"
                )
            yield self._keyframe(scene.name, sample, sweeps)
            if number < scene.nbr_samples:
                if not sample.next:
                    raise scenes.wrong(scene, "nbr_samples", f"expected {number}, as many as there are")
                sample = samples.follow(sample, "next", samples)

    def _keyframe(self, scene: str, sample: SampleRecord, sweeps: int) -> Frame:
        shots = self._keyframe_shots[sample.token]
        wrong = {channel: reason for channel, shot in shots.items() if (reason := self._lacks(shot))}
        there = {channel: self._reading(shot) for channel, shot in shots.items() if channel not in wrong}
        needed = (*self.ring.cameras, LIDAR) if self._lidar else self.ring.cameras
        clock = there.get(LIDAR) or next(iter(there.values()), None)
        position_m = None if clock is None else clock.global_from_ego.translation_m
        lacks = [
            f"{channel} ({wrong[channel]})" if channel in wrong else channel
            for channel in needed
            if channel not in there
        ]
        earlier = list(self._earlier(shots[LIDAR], sweeps - 1)) if self._lidar and LIDAR in shots else []
        if reason := next(filter(None, map(self._lacks, earlier)), None):
            lacks.append(f"an earlier sweep ({reason}{SWEEPS_REMEDY})")
        if lacks:
            return Frame(IncompleteSample(scene, sample.token, tuple(lacks)), position_m)
        found = NuscenesSample(
            scene=scene,
            sample=sample.token,
            timestamp=sample.timestamp,
            cameras=tuple(there[camera] for camera in self.ring.cameras),
            lidar=there.get(LIDAR),
            earlier_sweeps=tuple(map(self._reading, earlier)),
        )
        return Frame(found, position_m)

    def _earlier(self, sweep: SampleData, count: int) -> Iterator[SampleData]:
        """Up to `count` sweeps before one, the latest first."""
        table = self._records.sample_data
        for _ in range(count):
            if not sweep.prev:
                return
            sweep = table.follow(sweep, "prev", table)
            yield sweep

    def _reading(self, shot: SampleData) -> Reading:
        mounted = self._mounted(shot)
        pose = self._records.sample_data.follow(shot, "ego_pose_token", self._records.ego_pose)
        return Reading(
            filename=shot.filename,
            timestamp=shot.timestamp,
            ego_from_sensor=_placement(mounted),
            global_from_ego=_placement(pose),
            intrinsics_px=mounted.camera_intrinsic,
            size_hw=(shot.height, shot.width) if shot.height and shot.width else None,
            distorted=any(mounted.camera_distortion or ()),
        )

    def _sample(self, shot: SampleData) -> SampleRecord:
        return self._records.sample_data.follow(shot, "sample_token", self._records.sample)

    def _channel(self, shot: SampleData) -> str:
        table = self._records.calibrated_sensor
        return table.follow(self._mounted(shot), "sensor_token", self._records.sensor).channel

    def _mounted(self, shot: SampleData) -> CalibratedSensor:
        return self._records.sample_data.follow(shot, "calibrated_sensor_token", self._records.calibrated_sensor)

    def _lacks(self, shot: SampleData) -> str | None:
        return self.files.lacks(self._root, shot.filename, self._records.sample_data.path)


def _placement(record: Placed) -> Placement:
    w, x, y, z = record.rotation
    px, py, pz = record.translation
    return Placement((w, x, y, z), (px, py, pz))
