"""What stage 1 asks of a dataset: which rigs there are, and one rig, whole.

Geometry: `a_from_b` maps homogeneous points of frame b to frame a. The rig frame is the vehicle frame of
the dataset's calibration (x forward, y left, z up); a camera frame is x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cache_schema import RigFrames


@dataclass(frozen=True)
class SampleRef:
    """One sample of a split. (scene, sample) is its identity; the timestamp is opaque and may repeat."""

    scene: str
    sample: str
    timestamp: int


@dataclass(frozen=True)
class IncompleteSample:
    """A sample that lacks a sensor, and the names of what it lacks."""

    scene: str
    sample: str
    lacks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.scene} sample {self.sample} lacks {', '.join(self.lacks)}"


@runtime_checkable
class RigDataset(Protocol):
    """A dataset of rigs. Cheap to pickle: a worker process opens its own copy."""

    name: str
    version: str
    cameras: tuple[str, ...]  # ring order, front first, then counter-clockwise seen from above
    adjacent_pairs: tuple[tuple[int, int], ...]  # indices into `cameras`
    splits: tuple[str, ...]

    def samples(self, split: str) -> Sequence[SampleRef]:
        """All complete samples of a split, in the dataset's own order."""
        ...

    def incomplete(self, split: str) -> Sequence[IncompleteSample]:
        """The samples of a split that lack a camera or the LiDAR."""
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
