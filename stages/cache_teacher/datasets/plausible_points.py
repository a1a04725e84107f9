"""Whether the numbers in a point cloud can be what a car's LiDAR measured, in metres.

Files do not say which unit, columns and frame their numbers have. What points must be in any place tells most mistakes:
how far they are, that none lies under the ground, and that cameras are a few metres above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import Sweep
from stages.cache_teacher.datasets.point_forms import as_angles, byte_swapped, turned
from stages.wording import counted

FEW = 10
"""Of fewer points nothing can be said."""
STRANGE = 0.2
"""Share of points with a number that no sensor gives from which on the type of the numbers was mistaken."""
MEDIAN_M = (0.2, 150.0)
"""Between these the middle one of a sweep's distances lies: in an office at 2 m, in a wide street at 35 m."""
NEAR_MEDIAN_M = 0.5
FAR_M, FAR_SHARE = 300.0, 0.01
"""A LiDAR for cars sees little beyond."""
HIGHEST_M, HIGH_M, LOW_M = 10.0, 4.5, -1.0
"""Cameras on a car are not above the first, and hardly above the second or below the third over the ground."""
UNDER_M, UNDER_DEG = 6.0, -30.0
"""What is this far below the cameras, and seen this steeply from the LiDAR, is inside the earth."""
UNDER_SHARE, FEW_UNDER = 0.04, 0.005
LEVEL = 0.03
"""Points this level, as a part of how far they are, are a LiDAR's that turns one beam and need not see the ground."""
UPRIGHT = 0.75
"""Points reach this far in height, as a part of what they reach sideways, where axes or columns are mixed up."""


class OddSweepError(DatasetError):
    """A sweep that a place may explain, such as a bridge; where most sweeps are like it, something is wrong."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a sweep: what cannot be, and what is doubtful; both end with what may be the cause."""

    impossible: str | None
    doubts: tuple[str, ...]
    anywhere: bool = True
    """Whether what cannot be cannot be at any place."""

    @property
    def clean(self) -> bool:
        """Whether nothing is."""
        return self.impossible is None and not self.doubts


def sweep_doubts(sweep: Sweep, rig_from_camera: Float64[np.ndarray, "V 4 4"]) -> tuple[str, ...]:
    """What is doubtful of a sweep.

    Raises DatasetError for one whose numbers cannot be metres in the LiDAR's frame, OddSweepError where they could at
    a rare place.
    """
    cameras_m = rig_from_camera[:, 2, 3].tolist()
    verdict = judge(sweep.points_m, sweep.rig_from_lidar, cameras_m)

    def fits(points_m: Float[np.ndarray, "_ 3"]) -> bool:
        return judge(points_m, sweep.rig_from_lidar, cameras_m).clean

    forms = [form for form in as_angles(sweep.points_m) if fits(form.points_m)]
    if sure := [form for form in forms if verdict.impossible or (form.whole_turn and not form.lane_too)]:
        raise DatasetError(
            f"{sweep.file}: its columns look like {', or '.join(form.words for form in sure)}; expected x, y and z in "
            f"metres: write {', or '.join(form.instead for form in sure)}"
        )
    doubts = (*verdict.doubts, *(f"its columns look like {form.words}, too" for form in forms if form.whole_turn))
    if verdict.clean or len(sweep.points_m) < FEW:
        return doubts
    readings = {**byte_swapped(sweep.points_m), **sweep.other_readings()}
    fitting = [words for words, points_m in readings.items() if fits(points_m)]
    better = f"read as {' or '.join(fitting)} it looks like a sweep"
    if verdict.impossible is None:
        return (*doubts, better) if fitting else doubts
    refusal = DatasetError if verdict.anywhere else OddSweepError
    if fitting:
        raise refusal(f"{sweep.file}: {verdict.impossible}; {better}: mend it, or what describes it")
    axes = [words for words, points_m in turned(sweep.points_m).items() if fits(points_m)]
    also = f"; with {' or '.join(axes)} it looks like a sweep" if axes else ""
    raise refusal(
        f"{sweep.file}: {verdict.impossible}{also}; expected x, y and z in metres, in the LiDAR's frame; mend the "
        "files or what describes them, or pass --without-lidar"
    )


def met_something(points_m: Float[np.ndarray, "point 3"]) -> Float64[np.ndarray, "met 3"]:
    """The points but for those that are not finite, or at the origin: beams that met nothing."""
    with np.errstate(invalid="ignore"):  # bytes that are no numbers
        points = points_m.astype(np.float64)
    met: np.ndarray = points[np.isfinite(points).all(axis=1) & (points != 0).any(axis=1)]
    return met


def judge(
    points_m: Float[np.ndarray, "point 3"], rig_from_lidar: Float64[np.ndarray, "4 4"], cameras_m: Sequence[float]
) -> Verdict:
    """Judge points in a LiDAR's frame; `cameras_m` are the heights of the cameras in the rig's frame.

    Beams that met nothing do not count.
    """
    points = met_something(points_m)
    if not len(points):
        return Verdict(None, ("no point in it is finite and away from the origin",))
    if len(points) < FEW:
        return Verdict(None, (f"it holds {counted(len(points), 'point')}: is that all that the LiDAR saw?",))
    strange = ((np.abs(points) > 1e5) | ((np.abs(points) < 1e-6) & (points != 0))).any(axis=1).mean()
    if strange > STRANGE:
        return Verdict(
            f"{strange:.0%} of its points have numbers above 100 km or below a micrometre, as where float64 is read as "
            "float32, columns are miscounted, or points are in the world's frame instead of the LiDAR's",
            (),
        )
    ranges_m = np.linalg.norm(points, axis=1)
    median_m = float(np.median(ranges_m))
    if not MEDIAN_M[0] < median_m < MEDIAN_M[1]:
        return Verdict(
            f"half of its points are {'nearer' if median_m < 1 else 'farther'} than {median_m:.3g} m, where "
            f"{MEDIAN_M[0]:g} to {MEDIAN_M[1]:g} m can be, as where they are not in metres",
            (),
        )
    return _judge_places(points, ranges_m, rig_from_lidar, cameras_m)


def _judge_places(
    points: Float64[np.ndarray, "point 3"],
    ranges_m: Float64[np.ndarray, "point"],
    rig_from_lidar: Float64[np.ndarray, "4 4"],
    cameras_m: Sequence[float],
) -> Verdict:
    """Judge where points are that are as far as they can be."""
    turned = points @ rig_from_lidar[:3, :3].T
    height_m = turned[:, 2] + rig_from_lidar[2, 3]
    steep = turned[:, 2] < np.tan(np.radians(UNDER_DEG)) * np.hypot(turned[:, 0], turned[:, 1])
    under = float((steep & (height_m < min(cameras_m) - UNDER_M)).mean())
    ground_m = np.quantile(height_m[ranges_m <= np.median(ranges_m)], 0.1)
    above_m = float(np.median(cameras_m) - ground_m)
    reach_m = np.subtract(*np.quantile(turned, [0.9, 0.1], axis=0))
    upright = reach_m[2] >= UPRIGHT * reach_m[:2].max()
    mixed = "are columns or axes mixed up, or the LiDAR's placement wrong?"
    if under >= UNDER_SHARE or (under >= FEW_UNDER and upright):
        return Verdict(f"{under:.1%} of its points lie deep under the car: {mixed}", (), anywhere=False)
    if abs(above_m) > HIGHEST_M:
        where = f"{abs(above_m):.1f} m {'above' if above_m > 0 else 'under'} the ground"
        said = f"by its points, cameras are {where}: are points in metres, and placements right?"
        return Verdict(said, (), anywhere=False)
    doubts = []
    if (far := float((ranges_m > FAR_M).mean())) > FAR_SHARE:
        doubts.append(f"{far:.0%} of its points are farther than {FAR_M:g} m: are they in metres?")
    if float(np.median(ranges_m)) < NEAR_MEDIAN_M:
        doubts.append(f"half of its points are nearer than {NEAR_MEDIAN_M:g} m: are they in metres?")
    level = np.quantile(np.abs(points[:, 2]) / ranges_m, 0.99) < LEVEL
    if not (level or LOW_M < above_m < HIGH_M):
        where = f"{abs(above_m):.1f} m {'above' if above_m > 0 else 'under'} the ground"
        doubts.append(f"by its points, cameras are {where}: are points in metres, z up?")
    if under >= FEW_UNDER:
        doubts.append(f"{under:.1%} of its points lie deep under the car: {mixed}")
    if upright:
        doubts.append(f"its points reach as far in height, {reach_m[2]:.1f} m, as sideways: {mixed}")
    return Verdict(None, tuple(doubts))
