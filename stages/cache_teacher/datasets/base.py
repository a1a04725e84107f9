"""What stage 1 asks of a dataset: which rigs there are, and one rig, whole.

Geometry: `a_from_b` maps homogeneous points of frame b to frame a. The rig frame is the vehicle frame of
the dataset's calibration (x forward, y left, z up); a camera frame is x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt16


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


@dataclass(frozen=True)
class LidarPoints:
    """The LiDAR points that one camera sees, at most one per native pixel, ordered by pixel (v, then u).

    `depth_m` is the camera's z, as the official toolkit computes it.
    """

    uv_px: UInt16[np.ndarray, "point 2"]
    depth_m: Float32[np.ndarray, "point"]


@dataclass(frozen=True)
class Rig:
    """All that one sample's cameras and LiDAR saw; V cameras in ring order.

    `images` are decoded RGB at native size (H, W, 3); `image_files` are the bytes they were decoded from.
    """

    ref: SampleRef
    images: tuple[UInt8[np.ndarray, "H W 3"], ...]
    image_files: tuple[bytes, ...]
    lidar: tuple[LidarPoints, ...]
    intrinsics_px: Float32[np.ndarray, "V 3 3"]
    rig_from_camera: Float64[np.ndarray, "V 4 4"]
    world_from_camera: Float64[np.ndarray, "V 4 4"]
    world_from_rig: Float64[np.ndarray, "4 4"]


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

    def load(self, split: str, ref: SampleRef) -> Rig:
        """Read one sample. Raises DatasetError, naming the file and the remedy."""
        ...
