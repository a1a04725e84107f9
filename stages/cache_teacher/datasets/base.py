"""What stage 1 asks of a dataset: which rigs there are, and one rig, whole.

Geometry: `a_from_b` maps homogeneous points of frame b to frame a. The rig frame is the vehicle frame of
the dataset's calibration (x forward, y left, z up); a camera frame is x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64
from pydantic import JsonValue

from cache_schema import RigFrames
from cache_schema.errors import DatasetError

S = TypeVar("S", bound="SampleRef")

CAPACITY_PROBES = 16
CAPACITY_STEP = 4096


@dataclass(frozen=True)
class SampleRef:
    """One sample of a split. (scene, sample) is its identity; the timestamp is opaque and may repeat."""

    scene: str
    sample: str
    timestamp: int


@dataclass(frozen=True)
class IncompleteSample:
    """A sample that lacks what it needs, such as a sensor, and the names of what it lacks."""

    scene: str
    sample: str
    """Empty where it is all of the scene."""
    lacks: tuple[str, ...]

    def __str__(self) -> str:
        if not self.sample:
            return f"scene {self.scene}: {'; '.join(self.lacks)}"
        return f"{self.scene} sample {self.sample} lacks {', '.join(self.lacks)}"


@dataclass(frozen=True)
class SplitNotes:
    """What else is known of a split."""

    left_out: tuple[str, ...] = ()
    """What was left out on request: how many, and why, one line for each reason."""
    selection: Mapping[str, JsonValue] = field(default_factory=dict)
    """The request, as the manifest keeps it."""
    lidar_sweeps: int = 1
    """Sweeps that the points of a rig come from, at most."""
    scene_conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By scene, such as `night` and `rain`."""


@dataclass(frozen=True)
class DescribedCamera:
    """What a dataset's files say of a camera, images aside."""

    name: str
    source: str
    """The file that says it, for a message."""
    intrinsics_px: Float32[np.ndarray, "3 3"]
    size_hw: tuple[int, int] | None
    """Height and width of its images; None where no file tells."""
    rig_from_camera: Float64[np.ndarray, "4 4"]
    ignored: tuple[str, ...] = ()
    """What is said of its lens beyond a pinhole, such as `k1`, and not used."""


@dataclass(frozen=True)
class ImageFile:
    """An image on disk, and its size in bytes as the listing of its folder says it."""

    path: Path
    size: int


@dataclass(frozen=True)
class Sweep:
    """A LiDAR's points as its file has them, in its own frame, and where it is on the car."""

    file: str
    points_m: Float[np.ndarray, "point 3"]
    rig_from_lidar: Float64[np.ndarray, "4 4"]
    other_readings: Callable[[], Mapping[str, Float[np.ndarray, "_ 3"]]] = dict
    """What else the file's bytes could mean, by the words for it; nothing where the form leaves no choice."""


@runtime_checkable
class RigDataset(Protocol):
    """A dataset of rigs. Cheap to pickle: a worker process opens its own copy."""

    name: str
    version: str
    cameras: tuple[str, ...]  # ring order, front first, then counter-clockwise seen from above
    adjacent_pairs: tuple[tuple[int, int], ...]  # indices into `cameras`
    splits: tuple[str, ...]
    absent_splits: tuple[str, ...]  # that belong to it, but have no scene here

    def samples(self, split: str) -> Sequence[SampleRef]:
        """All complete samples of a split, in the dataset's own order."""
        ...

    def incomplete(self, split: str) -> Sequence[IncompleteSample]:
        """The samples of a split that lack a camera or the LiDAR, in their description or on disk."""
        ...

    def lidar_capacity(self, split: str) -> int:
        """An upper bound on the LiDAR points that one camera sees in one sample."""
        ...

    def without_dense_depth(self, split: str) -> SampleRef | None:
        """The first sample of a split of which some image has no dense depth; None where all of them have it."""
        ...

    def load(self, split: str, ref: SampleRef) -> RigFrames:
        """Read one sample. Raises DatasetError, naming the file and the remedy."""
        ...

    def described_cameras(self, split: str) -> Iterable[Sequence[DescribedCamera]]:
        """What is said of the cameras of the ring together, each description that the split's samples use."""
        ...

    def image_files(self, split: str, ref: SampleRef) -> Sequence[ImageFile]:
        """The images of a sample that `samples` lists, in ring order. None of them is opened."""
        ...

    def world_from_rig(self, split: str, ref: SampleRef) -> Float64[np.ndarray, "4 4"]:
        """Where the rig of a sample is, as its description says. Raises DatasetError like `load`."""
        ...

    def sweep(self, split: str, ref: SampleRef) -> Sweep:
        """The LiDAR's points of a sample that has them. Raises DatasetError like `load`."""
        ...

    def notes(self, split: str) -> SplitNotes:
        """What was left out of a split on request, and what is known of its scenes."""
        ...


def parted(entries: Iterable[S | IncompleteSample]) -> tuple[tuple[S, ...], tuple[IncompleteSample, ...]]:
    """The complete samples, and the incomplete ones, each in their order."""
    entries = tuple(entries)
    incomplete = tuple(entry for entry in entries if isinstance(entry, IncompleteSample))
    return tuple(entry for entry in entries if not isinstance(entry, IncompleteSample)), incomplete


def lidar_capacity(samples: Sequence[S], points: Callable[[S], int]) -> int:
    """An upper bound on the LiDAR points that one camera sees in one of the samples.

    It is the size of the largest of up to 16 sweeps spread evenly over them, rounded up to a multiple of 4096. A
    camera sees no more than its part of a sweep (about a quarter on DDAD), so the bound holds for those in between.
    Raises DatasetError where none of them can be read; who reads them all names those that cannot.
    """
    probes = np.linspace(0, len(samples) - 1, min(CAPACITY_PROBES, len(samples))).astype(int)
    counts, errors = [0], []
    for i in probes:
        try:
            counts.append(points(samples[i]))
        except DatasetError as error:
            errors.append(error)
    if errors and len(errors) == len(probes):
        raise errors[0]
    largest = max(counts)
    return max(-(-largest // CAPACITY_STEP), 1) * CAPACITY_STEP
