"""DDAD, and any dataset in its format (DGP v1), as rigs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import (
    DescribedCamera,
    ImageFile,
    IncompleteSample,
    SampleRef,
    SplitNotes,
    Sweep,
    lidar_capacity,
    parted,
)
from stages.cache_teacher.datasets.dgp_json import (
    Calibration,
    Scene,
    microseconds,
    read_calibration,
    read_scene,
    read_scene_splits,
)
from stages.cache_teacher.datasets.dgp_rig import (
    LIDAR,
    depth_files,
    intrinsics_of,
    mounting_of,
    read_rig,
    read_sweep,
    read_world_from_rig,
)
from stages.cache_teacher.datasets.one_drive import refuse_one_drive_twice
from stages.cache_teacher.datasets.plausible_poses import require_cameras_apart
from stages.cache_teacher.datasets.raw_files import REMEDY, FilesOnDisk, count_points, path_inside
from stages.cache_teacher.datasets.ring import Ring, ring_from_calibration, same_order

DATASET_FILE = "ddad.json"


class DdadDataset:
    """The rigs under a folder that holds ddad.json.

    Opening reads the dataset file and the calibrations of the scenes on disk; a scene file is read when it
    is first asked for. The ring comes from the first calibration with the most cameras. Without `lidar`, no sweep is
    read or needed, without `dense_depth` no depth map. A sample is as incomplete without a file as without its entry.

    Raises DatasetError where the folder holds no such dataset, or two calibrations disagree on the ring.
    """

    name = "ddad"
    absent_splits: tuple[str, ...] = ()

    def __init__(self, root: Path, *, lidar: bool = True, dense_depth: bool = True) -> None:
        self.root = root
        self.lidar = lidar
        self.dense_depth = dense_depth
        dataset_file = _find_dataset_file(root)
        dataset = read_scene_splits(dataset_file)
        self.version = dataset.version
        self.splits = tuple(dataset.scene_files)
        self._scene_paths = {
            split: _paths_by_scene(files, dataset_file) for split, files in dataset.scene_files.items()
        }
        # TRI's own small datasets name the same files in train and val, on purpose: that the plan says.
        listed = {file: split for split, files in dataset.scene_files.items() for file in files}
        refuse_one_drive_twice(
            ((split, file, path_inside(root, file, dataset_file)) for file, split in listed.items()), dataset_file
        )
        ring, self._bad_calibrations = _common_ring(self._scene_paths.values(), dataset_file)
        self.cameras = ring.cameras
        self.adjacent_pairs = ring.adjacent_pairs
        self._forget()

    def samples(self, split: str) -> Sequence[SampleRef]:
        """All complete samples of a split, in the dataset's own order.

        Raises DatasetError for an unknown split, and where a scene names files outside the dataset.
        """
        return self._index(split)[0]

    def incomplete(self, split: str) -> Sequence[IncompleteSample]:
        """The samples of a split that lack a camera of the ring, the LiDAR or their calibration, in their order.

        A scene whose file is missing or damaged is one entry.
        """
        return self._index(split)[1]

    def lidar_capacity(self, split: str) -> int:
        """An upper bound on the LiDAR points that one camera sees in one sample, from the headers of sweeps' files."""
        complete, _ = self._index(split)
        return lidar_capacity(complete if self.lidar else (), lambda ref: self._count_points(split, ref))

    def notes(self, split: str) -> SplitNotes:
        """Nothing: DDAD is used whole, and does not describe its scenes."""
        return SplitNotes()

    def without_dense_depth(self, split: str) -> SampleRef | None:
        """The first complete sample of a split of which some image has no depth map; None where all have one."""
        for ref in self._index(split)[0]:
            scene = self._scene_of(split, ref)
            files = depth_files(scene.samples[ref.sample], self.cameras)
            if len(files) < len(self.cameras) or any(self._missing(scene, file) for file in files.values()):
                return ref
        return None

    def load(self, split: str, ref: SampleRef) -> RigFrames:
        """Read one sample. Raises DatasetError, naming the file and the remedy."""
        scene = self._scene_of(split, ref)
        if lacks := self._undescribed(scene, ref.sample):
            missing = IncompleteSample(ref.scene, ref.sample, lacks)
            raise DatasetError(f"{scene.path}: {missing}; expected a complete sample, as samples() lists them")
        calibration = self._calibration(scene, ref.sample)
        return read_rig(ref, scene, calibration, self.cameras, lidar=self.lidar, dense_depth=self.dense_depth)

    def described_cameras(self, split: str) -> Iterator[list[DescribedCamera]]:
        """The cameras of each calibration that a scene uses, with each size that the scene says of their images."""
        said: dict[tuple[str, str, tuple[tuple[int, int] | None, ...]], SampleRef] = {}
        for ref in self._index(split)[0]:
            sample = self._scene_of(split, ref).samples[ref.sample]
            sizes = tuple(sample.sensors[camera].size_hw for camera in self.cameras)
            said.setdefault((ref.scene, sample.calibration_key, sizes), ref)
        for (_, _, sizes), ref in said.items():
            calibration = self._calibration(self._scene_of(split, ref), ref.sample)
            yield [
                DescribedCamera(
                    camera,
                    str(calibration.path),
                    intrinsics_of(calibration, camera),
                    size_hw,
                    mounting_of(calibration, camera),
                    calibration.intrinsics[camera].beyond_pinhole,
                )
                for camera, size_hw in zip(self.cameras, sizes, strict=True)
                if camera in calibration.cameras  # else loading the sample says so
            ]

    def image_files(self, split: str, ref: SampleRef) -> list[ImageFile]:
        """The images of a sample, in ring order. None of them is opened."""
        scene = self._scene_of(split, ref)
        folder, sensors = scene.path.parent, scene.samples[ref.sample].sensors
        names = [sensors[camera].filename for camera in self.cameras]
        return [ImageFile(folder / name, self._read_files.size(folder, name, scene.path) or 0) for name in names]

    def world_from_rig(self, split: str, ref: SampleRef) -> Float64[np.ndarray, "4 4"]:
        """Where the rig of a sample is. Raises DatasetError where a pose is no rotation."""
        scene = self._scene_of(split, ref)
        return read_world_from_rig(ref, scene, self._calibration(scene, ref.sample), self.cameras)

    def sweep(self, split: str, ref: SampleRef) -> Sweep:
        """The LiDAR's points of a sample that has them. Raises DatasetError like `load`."""
        scene = self._scene_of(split, ref)
        return read_sweep(ref, scene, self._calibration(scene, ref.sample))

    def __getstate__(self) -> dict[str, Any]:
        """A worker process gets the dataset's layout, and reads the scenes it needs itself."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_read")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._read_files = FilesOnDisk(self.root)
        self._read_scenes: dict[Path, Scene] = {}
        self._read_calibrations: dict[Path, Calibration] = {}
        self._read_indices: dict[str, tuple[tuple[SampleRef, ...], tuple[IncompleteSample, ...]]] = {}

    def _index(self, split: str) -> tuple[tuple[SampleRef, ...], tuple[IncompleteSample, ...]]:
        if split not in self._read_indices:
            self._read_indices[split] = parted(
                entry for name, path in self._scenes_of(split).items() for entry in self._entries(name, path)
            )
        return self._read_indices[split]

    def _entries(self, name: str, path: Path) -> Iterator[SampleRef | IncompleteSample]:
        try:
            scene = self._scene(path)
        except DatasetError as error:
            yield IncompleteSample(name, "", (self._read_files.lacks(path.parent, path.name, path) or str(error),))
            return
        for sample, described in scene.samples.items():
            if lacks := (*self._undescribed(scene, sample), *self._unreadable(scene, sample)):
                yield IncompleteSample(name, sample, lacks)
            else:
                clock = LIDAR if LIDAR in described.sensors else self.cameras[0]
                yield SampleRef(name, sample, microseconds(described.sensors[clock].timestamp, scene.path))

    def _needed(self) -> tuple[str, ...]:
        return (*self.cameras, LIDAR) if self.lidar else self.cameras

    def _undescribed(self, scene: Scene, sample: str) -> tuple[str, ...]:
        """The sensors that a sample needs and its scene does not know."""
        return tuple(name for name in self._needed() if name not in scene.samples[sample].sensors)

    def _unreadable(self, scene: Scene, sample: str) -> Iterator[str]:
        """What a sample needs whose file is missing, is empty or, for its calibration, damaged."""
        described = scene.samples[sample]
        for name in self._needed():
            if name in described.sensors and (reason := self._missing(scene, described.sensors[name].filename)):
                yield f"{name} ({reason})"
        if (reason := self._missing(scene, f"calibration/{described.calibration_key}.json")) or (
            self._bad_calibrations and (reason := self._bad_calibrations.get(self._calibration_path(scene, sample)))
        ):
            yield f"its calibration ({reason})"
        if self.dense_depth:
            depth = {name: self._missing(scene, file) for name, file in depth_files(described, self.cameras).items()}
            if not all(depth.values()):  # else the dataset was extracted without it
                yield from (f"dense depth of {name} ({reason})" for name, reason in depth.items() if reason)

    def _missing(self, scene: Scene, file: str) -> str | None:
        return self._read_files.lacks(scene.path.parent, file, scene.path)

    def _scenes_of(self, split: str) -> Mapping[str, Path]:
        if split not in self._scene_paths:
            raise DatasetError(
                f"{self.root / DATASET_FILE}: has no split {split!r}; expected one of {', '.join(self.splits)}"
            )
        return self._scene_paths[split]

    def _scene_of(self, split: str, ref: SampleRef) -> Scene:
        path = self._scenes_of(split).get(ref.scene)
        if path is None or ref.sample not in (scene := self._scene(path)).samples:
            raise DatasetError(
                f"{self.root}: split {split!r} has no sample {ref.sample} in scene {ref.scene}; "
                "expected one that samples() lists"
            )
        return scene

    def _scene(self, path: Path) -> Scene:
        if path not in self._read_scenes:
            self._read_scenes[path] = read_scene(path)
        return self._read_scenes[path]

    def _calibration_path(self, scene: Scene, sample: str) -> Path:
        key = scene.samples[sample].calibration_key
        return path_inside(scene.path.parent / "calibration", f"{key}.json", scene.path)

    def _calibration(self, scene: Scene, sample: str) -> Calibration:
        path = self._calibration_path(scene, sample)
        if path not in self._read_calibrations:
            self._read_calibrations[path] = read_calibration(path)
        return self._read_calibrations[path]

    def _count_points(self, split: str, ref: SampleRef) -> int:
        scene = self._scene_of(split, ref)
        sweep = scene.samples[ref.sample].sensors[LIDAR]
        return count_points(path_inside(scene.path.parent, sweep.filename, scene.path))


def _find_dataset_file(root: Path) -> Path:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the folder that holds {DATASET_FILE}")
    if not (root / DATASET_FILE).is_file():
        nested = sorted(root.glob(f"*/{DATASET_FILE}"))
        remedy = f"use {nested[0].parent}" if nested else "extract DDAD's archive and use its ddad_train_val folder"
        raise DatasetError(f"{root}: holds no {DATASET_FILE}; expected DDAD or a dataset in its format; {remedy}")
    return root / DATASET_FILE


def _paths_by_scene(files: Sequence[str], dataset_file: Path) -> dict[str, Path]:
    """Scene files by the name of their folder or, where several share it, by their path without suffix."""
    folders = Counter(PurePosixPath(file).parent.name for file in files)
    paths: dict[str, Path] = {}
    for file in files:
        relative = PurePosixPath(file)
        folder = relative.parent.name
        name = folder if folder and folders[folder] == 1 else str(relative.with_suffix(""))
        if name in paths:
            raise DatasetError(f"{dataset_file}: lists the scene {file} twice in a split; expected it once; {REMEDY}")
        paths[name] = path_inside(dataset_file.parent, file, dataset_file)
    return paths


def _common_ring(splits: Iterable[Mapping[str, Path]], dataset_file: Path) -> tuple[Ring, dict[Path, str]]:
    """The ring that all calibrations agree on, and what is wrong with those that cannot be read."""
    folders = dict.fromkeys(path.parent / "calibration" for scenes in splits for path in scenes.values())
    calibrations: list[Calibration] = []
    unreadable: dict[Path, str] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("[!.]*.json"))):
        try:
            calibrations.append(read_calibration(path))
        except DatasetError as error:
            unreadable[path] = str(error)
    largest = max(calibrations, key=lambda calibration: len(calibration.cameras), default=None)
    if largest is None or not largest.cameras:
        why = f" ({next(iter(unreadable.values()))})" if unreadable else ""
        raise DatasetError(
            f"{dataset_file}: none of its scenes has a camera in <scene>/calibration/*.json{why}; {REMEDY}"
        )
    ring = _ring(largest)
    for calibration in calibrations:
        if not same_order(ring.cameras, found := _ring(calibration).cameras):
            require_cameras_apart(_mountings(calibration), list(_intrinsics(calibration)), str(calibration.path))
            raise DatasetError(
                f"{calibration.path}: orders the cameras {', '.join(found)}; expected {', '.join(ring.cameras)} "
                f"as {largest.path} does; put scenes of different cars into different datasets"
            )
    return ring, unreadable


def _ring(calibration: Calibration) -> Ring:
    return ring_from_calibration(
        _mountings(calibration),
        dict(zip(calibration.cameras, _intrinsics(calibration), strict=True)),
    )


def _intrinsics(calibration: Calibration) -> Iterator[Float32[np.ndarray, "3 3"]]:
    return (intrinsics_of(calibration, camera) for camera in calibration.cameras)


def _mountings(calibration: Calibration) -> dict[str, Float64[np.ndarray, "4 4"]]:
    return {camera: mounting_of(calibration, camera) for camera in calibration.cameras}
