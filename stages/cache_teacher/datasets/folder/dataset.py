"""A dataset of one's own as rigs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float64

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
from stages.cache_teacher.datasets.folder.description import (
    DATASET_FILE,
    SCENE_FILE,
    Camera,
    Lidar,
    Placement,
    Rig,
    read_dataset,
    read_scene,
)
from stages.cache_teacher.datasets.folder.points import other_readings, read_cloud
from stages.cache_teacher.datasets.one_drive import refuse_one_drive_twice
from stages.cache_teacher.datasets.plausible_cameras import require_pinhole, require_size
from stages.cache_teacher.datasets.projection import NO_POINTS, project, world_points
from stages.cache_teacher.datasets.raw_files import FilesOnDisk, decode_views, image_size, path_inside, read_bytes
from stages.cache_teacher.datasets.ring import ring_from_calibration

POINTS = "points"
"""What an incomplete rig without a point cloud lacks."""


@dataclass(frozen=True)
class _OpenScene:
    """A scene: its conditions, the sensors on the car, and the rigs by sample, in order."""

    conditions: tuple[str, ...]
    cameras: Mapping[str, Camera]
    lidar: Lidar | None
    rigs: Mapping[str, Rig]


class FolderDataset:
    """The rigs under a folder that holds dataset.json.

    A scene is read when it is first asked for. LiDAR points are projected as DDAD's are: pixels truncated toward zero,
    the last point of a pixel stays. Raises DatasetError where dataset.json is missing or not as described.
    """

    name = "folder"
    absent_splits: tuple[str, ...] = ()

    def __init__(self, root: Path, *, lidar: bool = True) -> None:
        self.root = root
        self.lidar = lidar
        self._described = read_dataset(root)
        _require_scenes(root, self._described.splits)
        refuse_one_drive_twice(
            ((split, name, root / name) for split, names in self._described.splits.items() for name in names),
            root / DATASET_FILE,
        )
        self.version = f"{self._described.name} {self._described.version}"
        self.splits = tuple(self._described.splits)
        cameras = self._described.cameras
        ring = ring_from_calibration(
            {name: _matrix(camera.car_from_camera) for name, camera in cameras.items()},
            {name: np.array(camera.intrinsics, np.float32) for name, camera in cameras.items()},
        )
        self.cameras = ring.cameras
        self.adjacent_pairs = ring.adjacent_pairs
        self._forget()

    def samples(self, split: str) -> Sequence[SampleRef]:
        """All complete rigs of a split, in the order of its scenes.

        Raises DatasetError for an unknown split and for a scene that cannot be read.
        """
        return self._index(split)[0]

    def incomplete(self, split: str) -> Sequence[IncompleteSample]:
        """The rigs of a split that lack an image or the point cloud, in the description or on disk."""
        return self._index(split)[1]

    def notes(self, split: str) -> SplitNotes:
        """The conditions of its scenes, and a digest of what describes them, so that a cache knows of a change."""
        scenes = self._scenes(split)
        described = self._described.model_dump_json(include={"cameras", "lidar"}).encode()
        digest = hashlib.sha256(described)
        for name in scenes:
            digest.update(read_bytes(self.root / name / SCENE_FILE))
        return SplitNotes(
            selection={"description_sha256": digest.hexdigest()},
            scene_conditions={name: c for name in scenes if (c := self._scene(name).conditions)},
        )

    def lidar_capacity(self, split: str) -> int:
        """An upper bound on the LiDAR points that one camera sees in one rig, from up to 16 point clouds."""
        complete = self._index(split)[0] if self.lidar else ()
        return lidar_capacity(complete, lambda ref: len(self._cloud(ref.scene, self._rig(ref))))

    def without_dense_depth(self, split: str) -> SampleRef | None:
        """The first rig: there is no dense depth."""
        return next(iter(self._index(split)[0]), None)

    def load(self, split: str, ref: SampleRef) -> RigFrames:
        """Read one rig. Raises DatasetError, naming the file and the remedy."""
        scene, rig = self._scene(ref.scene), self._rig(ref)
        paths = [self._path(ref.scene, rig.images[camera]) for camera in self.cameras]
        files = tuple(read_bytes(path) for path in paths)
        images = decode_views(files, paths)
        described = [scene.cameras[camera] for camera in self.cameras]
        intrinsics_px = np.array([camera.intrinsics for camera in described], np.float32)
        for name, path, said, K, image in zip(self.cameras, paths, described, intrinsics_px, images, strict=True):
            require_size(path, image.shape[:2], name, said.size_hw, by=self._calibrated_by(ref.scene))
            require_pinhole(name, K, image.shape[:2], str(self.root / ref.scene))
        rig_from_camera = np.stack([_matrix(camera.car_from_camera) for camera in described])
        world_from_rig = _matrix(rig.world_from_car)
        moved = [rig.world_from_car_at_image.get(camera, rig.world_from_car) for camera in self.cameras]
        world_from_camera = np.stack([_matrix(car) for car in moved]) @ rig_from_camera
        lidar = tuple(NO_POINTS for _ in images)
        if self.lidar:
            assert scene.lidar is not None
            world_from_lidar = world_from_rig @ _matrix(scene.lidar.car_from_lidar)
            world = world_points(self._cloud(ref.scene, rig), world_from_lidar)
            lidar = tuple(
                project(world, np.linalg.inv(camera), K, image.shape[:2])
                for camera, K, image in zip(world_from_camera, intrinsics_px, images, strict=True)
            )
        return RigFrames(
            scene=ref.scene,
            sample=ref.sample,
            timestamp=ref.timestamp,
            images=images,
            image_files=files,
            lidar=lidar,
            intrinsics_px=intrinsics_px,
            rig_from_camera=rig_from_camera,
            world_from_camera=world_from_camera,
            world_from_rig=world_from_rig,
        )

    def described_cameras(self, split: str) -> Iterator[list[DescribedCamera]]:
        """The cameras of each scene, with the size of their images in its first complete rig."""
        first: dict[str, SampleRef] = {}
        for ref in self._index(split)[0]:
            first.setdefault(ref.scene, ref)
        for name, ref in first.items():
            yield [self._described_camera(name, camera, self._rig(ref)) for camera in self.cameras]

    def image_files(self, split: str, ref: SampleRef) -> list[ImageFile]:
        """The images of a rig, in ring order. None of them is opened."""
        folder, images = self.root / ref.scene, self._rig(ref).images
        names = [images[camera] for camera in self.cameras]
        return [
            ImageFile(folder / name, self._read_files.size(folder, name, folder / SCENE_FILE) or 0) for name in names
        ]

    def world_from_rig(self, split: str, ref: SampleRef) -> Float64[np.ndarray, "4 4"]:
        """Where the car of a rig is."""
        return _matrix(self._rig(ref).world_from_car)

    def sweep(self, split: str, ref: SampleRef) -> Sweep:
        """The points of a rig that has them. Raises DatasetError like `load`."""
        rig, lidar = self._rig(ref), self._scene(ref.scene).lidar
        assert rig.points is not None
        assert lidar is not None
        path, columns = self._path(ref.scene, rig.points), lidar.bin_columns
        return Sweep(
            str(path), read_cloud(path, columns), _matrix(lidar.car_from_lidar), partial(other_readings, path, columns)
        )

    def __getstate__(self) -> dict[str, Any]:
        """A worker process reads the scenes that it needs itself."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_read")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._read_scenes: dict[str, _OpenScene] = {}
        self._read_files = FilesOnDisk(self.root)
        self._read_indices: dict[str, tuple[tuple[SampleRef, ...], tuple[IncompleteSample, ...]]] = {}

    def _index(self, split: str) -> tuple[tuple[SampleRef, ...], tuple[IncompleteSample, ...]]:
        if split not in self._read_indices:
            scenes = {name: self._scene(name) for name in self._scenes(split)}
            entries = [self._entry(name, rig) for name, scene in scenes.items() for rig in scene.rigs.values()]
            self._read_indices[split] = parted(entries)
        return self._read_indices[split]

    def _entry(self, scene: str, rig: Rig) -> SampleRef | IncompleteSample:
        needed = {camera: rig.images.get(camera) for camera in self.cameras}
        if self.lidar:
            needed[POINTS] = rig.points
        folder = self.root / scene
        lacks = tuple(
            name if file is None else f"{name} ({reason})"
            for name, file in needed.items()
            if file is None or (reason := self._read_files.lacks(folder, file, folder / SCENE_FILE))
        )
        if lacks:
            return IncompleteSample(scene, rig.sample, lacks)
        return SampleRef(scene, rig.sample, rig.timestamp)

    def _described_camera(self, scene: str, camera: str, rig: Rig) -> DescribedCamera:
        described = self._scene(scene).cameras[camera]
        return DescribedCamera(
            camera,
            f"scene {scene}",
            np.array(described.intrinsics, np.float32),
            described.size_hw or image_size(self._path(scene, rig.images[camera])),
            _matrix(described.car_from_camera),
        )

    def _scenes(self, split: str) -> Sequence[str]:
        if split not in self._described.splits:
            raise DatasetError(
                f"{self.root / DATASET_FILE}: has no split {split!r}; expected one of {', '.join(self.splits)}"
            )
        return self._described.splits[split]

    def _scene(self, name: str) -> _OpenScene:
        if name not in self._read_scenes:
            self._read_scenes[name] = self._open_scene(path_inside(self.root, name, self.root / DATASET_FILE))
        return self._read_scenes[name]

    def _open_scene(self, folder: Path) -> _OpenScene:
        scene = read_scene(folder)
        cameras = scene.cameras or self._described.cameras
        if {*cameras} != {*self._described.cameras}:
            raise DatasetError(
                f"{folder / SCENE_FILE}: has the cameras {', '.join(cameras)}; expected those of {DATASET_FILE}: "
                f"{', '.join(self._described.cameras)}"
            )
        for rig in scene.rigs:
            if strange := sorted({*rig.images, *rig.world_from_car_at_image} - {*cameras}):
                raise DatasetError(
                    f"{folder / SCENE_FILE}: rig {rig.sample} names the camera {strange[0]}; expected those of "
                    f"{DATASET_FILE}: {', '.join(cameras)}"
                )
            files = [PurePosixPath(file) for file in rig.images.values()]
            if twice := [file for file in files if files.count(file) > 1]:
                raise DatasetError(
                    f"{folder / SCENE_FILE}: rig {rig.sample} gives two cameras the image {twice[0]}; expected "
                    "one of each camera's own"
                )
        rigs = {rig.sample: rig for rig in scene.rigs}
        if len(rigs) < len(scene.rigs):
            raise DatasetError(f"{folder / SCENE_FILE}: gives two rigs the same sample name; expected one for each")
        if self.lidar and not (scene.lidar or self._described.lidar):
            raise DatasetError(
                f"{folder / SCENE_FILE}: neither it nor {DATASET_FILE} has a lidar; expected where it is on the car; "
                "where there is none, pass --without-lidar"
            )
        return _OpenScene(scene.conditions, cameras, scene.lidar or self._described.lidar, rigs)

    def _rig(self, ref: SampleRef) -> Rig:
        return self._scene(ref.scene).rigs[ref.sample]

    def _path(self, scene: str, file: str) -> Path:
        return path_inside(self.root / scene, file, self.root / scene / SCENE_FILE)

    def _calibrated_by(self, scene: str) -> str:
        anew = self._scene(scene).cameras is not self._described.cameras
        return f"{scene}/{SCENE_FILE}" if anew else DATASET_FILE

    def _cloud(self, scene: str, rig: Rig) -> np.ndarray:
        assert rig.points is not None
        lidar = self._scene(scene).lidar
        assert lidar is not None
        return read_cloud(self._path(scene, rig.points), lidar.bin_columns)


def _require_scenes(root: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Raise DatasetError where a split names a folder that is no scene."""
    for split, scenes in splits.items():
        for name in scenes:
            if not (path_inside(root, name, root / DATASET_FILE) / SCENE_FILE).is_file():
                there = sorted(path.parent.name for path in root.glob(f"*/{SCENE_FILE}"))
                raise DatasetError(
                    f"{root / DATASET_FILE}: splits.{split} names {name}, where there is no {SCENE_FILE}; "
                    f"expected one of {', '.join(there) or 'none, for no folder has one'}"
                )


def _matrix(placement: Placement | None) -> Float64[np.ndarray, "4 4"]:
    return np.eye(4) if placement is None else np.array(placement, np.float64)
