"""One rig, with all that reading it needs: who has it needs no tables any more."""

from __future__ import annotations

from dataclasses import dataclass

from stages.cache_teacher.datasets.base import SampleRef


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one frame is in another, as nuScenes writes it: the parent's coordinates from the child's."""

    rotation: tuple[float, float, float, float]
    """Unit quaternion w, x, y, z."""
    translation_m: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """One image or sweep: its file, where its sensor is on the car, and where the car was at that time."""

    filename: str
    """Relative to the dataset's folder."""
    timestamp: int
    """Microseconds."""
    ego_from_sensor: Placement
    global_from_ego: Placement
    intrinsics_px: tuple[tuple[float, ...], ...]
    """The 3×3 pinhole matrix; empty for a LiDAR."""
    size_hw: tuple[int, int] | None = None
    """Height and width of the image, if the tables say them."""
    distorted: bool = False
    """Whether the tables have coefficients of its lens."""


@dataclass(frozen=True)
class NuscenesSample(SampleRef):
    """One keyframe: its images in ring order, its sweep, and the sweeps before it, latest first.

    Or what the cameras saw between two keyframes, which has no sweep.
    """

    cameras: tuple[Reading, ...]
    lidar: Reading | None
    """None where the dataset is read without LiDAR and the keyframe has none."""
    earlier_sweeps: tuple[Reading, ...] = ()
