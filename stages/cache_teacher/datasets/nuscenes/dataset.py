"""nuScenes as a dataset of rigs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.config import NuscenesSettings
from stages.cache_teacher.datasets.base import (
    DescribedCamera,
    ImageFile,
    IncompleteSample,
    SampleRef,
    SplitNotes,
    Sweep,
    lidar_capacity,
)
from stages.cache_teacher.datasets.nuscenes.rig import (
    CALIBRATED_BY,
    POINT_BYTES,
    matrix_of,
    read_own_sweep,
    read_rig,
    read_world_from_rig,
)
from stages.cache_teacher.datasets.nuscenes.sample import NuscenesSample, Reading
from stages.cache_teacher.datasets.nuscenes.selection import Selection, select
from stages.cache_teacher.datasets.nuscenes.tables import find_version, read_tables
from stages.cache_teacher.datasets.raw_files import REMEDY, FilesOnDisk, path_inside


class NuscenesDataset:
    """The keyframes under a folder that holds nuScenes, or what the cameras saw between them.

    Opening reads the tables of a version, once: samples carry what a worker needs, so that it reads none. Without
    `lidar`, no sweep is read or needed.

    Raises ConfigError without nuscenes-devkit, DatasetError where the tables are missing or damaged.
    """

    name = "nuscenes"

    def __init__(self, root: Path, settings: NuscenesSettings, *, lidar: bool = True) -> None:
        self.root = root
        self.settings = settings
        self.lidar = lidar
        self.version = find_version(root, settings.version)
        tables = read_tables(root, self.version, settings, lidar=lidar)
        self.cameras = tables.ring.cameras
        self.adjacent_pairs = tables.ring.adjacent_pairs
        self.splits = tuple(tables.splits)
        self.absent_splits = tables.absent_splits
        self._files: FilesOnDisk | None = tables.files
        self._opened: Mapping[str, Selection] | None = select(tables, settings)

    def samples(self, split: str) -> Sequence[NuscenesSample]:
        """All complete keyframes of a split that were asked for, in the order of the tables.

        Raises DatasetError for an unknown split, or one that is not here.
        """
        return self._split(split).complete

    def incomplete(self, split: str) -> Sequence[IncompleteSample]:
        """The keyframes of a split that lack a camera or the LiDAR, in the tables or on disk."""
        return self._split(split).incomplete

    def notes(self, split: str) -> SplitNotes:
        """What was left out on request, how many sweeps a keyframe has, and what descriptions of scenes say."""
        return self._split(split).notes

    def lidar_capacity(self, split: str) -> int:
        """An upper bound on the LiDAR points that one camera sees, from the sizes of up to 16 sweeps."""
        keyframes = self._split(split).complete if self.lidar else ()
        return lidar_capacity(keyframes, lambda keyframe: sum(map(self._count_points, _sweeps(keyframe))))

    def without_dense_depth(self, split: str) -> SampleRef | None:
        """The first keyframe: nuScenes has no dense depth."""
        return next(iter(self._split(split).complete), None)

    def load(self, split: str, ref: SampleRef) -> RigFrames:
        """Read one keyframe that `samples` lists. Raises DatasetError, naming the file and the remedy."""
        return read_rig(self.root, _listed(ref), lidar=self.lidar)

    def described_cameras(self, split: str) -> Iterator[list[DescribedCamera]]:
        """The cameras of each calibration that a keyframe uses, with each size that the tables say of their images."""
        said = {
            tuple(
                (each.intrinsics_px, each.size_hw, each.distorted, each.ego_from_sensor) for each in keyframe.cameras
            ): keyframe
            for keyframe in self._split(split).complete
        }
        for keyframe in said.values():
            yield [
                DescribedCamera(
                    camera,
                    CALIBRATED_BY,
                    np.array(reading.intrinsics_px, np.float32),
                    reading.size_hw,
                    matrix_of(reading.ego_from_sensor),
                    ("camera_distortion",) if reading.distorted else (),
                )
                for camera, reading in zip(self.cameras, keyframe.cameras, strict=True)
            ]

    def image_files(self, split: str, ref: SampleRef) -> list[ImageFile]:
        """The images of a keyframe, in ring order. None of them is opened."""
        assert self._files is not None
        named_in, names = self.root / self.version, [reading.filename for reading in _listed(ref).cameras]
        return [ImageFile(self.root / name, self._files.size(self.root, name, named_in) or 0) for name in names]

    def world_from_rig(self, split: str, ref: SampleRef) -> Float64[np.ndarray, "4 4"]:
        """Where the car of a keyframe is."""
        return read_world_from_rig(_listed(ref))

    def sweep(self, split: str, ref: SampleRef) -> Sweep:
        """The points of a keyframe's own sweep. Raises DatasetError like `load`."""
        return read_own_sweep(self.root, _listed(ref))

    def __getstate__(self) -> dict[str, Any]:
        """A worker process gets the layout; its samples come with its tasks."""
        return {**vars(self), "_opened": None, "_files": None}

    def _split(self, split: str) -> Selection:
        if self._opened is None:
            raise RuntimeError("a worker's copy has no tables; expected a sample that samples() listed")
        if split not in self._opened:
            lacks = "no scene of split" if split in self.absent_splits else "no split"
            raise DatasetError(f"{self.root}: has {lacks} {split!r}; expected one of {', '.join(self.splits)}")
        return self._opened[split]

    def _count_points(self, sweep: Reading) -> int:
        path = path_inside(self.root, sweep.filename, self.root / self.version)
        try:
            return path.stat().st_size // POINT_BYTES
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error


def _listed(ref: SampleRef) -> NuscenesSample:
    if not isinstance(ref, NuscenesSample):
        raise TypeError(f"{ref} does not say where its files are; expected a keyframe that samples() lists")
    return ref


def _sweeps(keyframe: NuscenesSample) -> Sequence[Reading]:
    return (*([keyframe.lidar] if keyframe.lidar else []), *keyframe.earlier_sweeps)
