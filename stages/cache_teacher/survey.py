"""What a few rigs of a split show of its LiDAR, before hours are spent on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from cache_schema import LidarView, RigFrames
from cache_schema.errors import DatasetError
from cache_schema.manifest import far_m
from stages.cache_teacher.datasets.base import RigDataset, SampleRef, Sweep
from stages.cache_teacher.datasets.plausible_points import OddSweepError, met_something, sweep_doubts
from stages.cache_teacher.unusable import Unusable, try_load
from stages.wording import counted

ASK_WHY = "are intrinsics in pixels of these images, and all placements in metres and the right way round?"
SWEEPS = 16
"""Sweeps whose numbers are judged."""
NEAR_M = 0.1
"""Depths from here up to as far as the dataset is scored are in range."""
FEW_IN_RANGE = 0.5
"""Share of a camera's points in range below which something is doubtful."""
UPSIDE_DOWN = 0.3
"""Rank correlation of rows and depths in an image above which it is doubtful; of real rigs it is far below 0."""
UNDER_M, UNDER_SHARE = 5.0, 0.02
"""It is doubtful where so many points lie so deep below the camera, too: there is the earth, but under a ceiling, or
where one ring turns above the camera, no such point."""
ENOUGH = 50
"""Points of an image that tell something."""


@dataclass(frozen=True)
class LidarSurvey:
    """What LiDAR shows in the first rig of a split, one half way and the last, by camera."""

    rigs: int
    first_points: dict[str, int]
    """Points in the first rig's images."""
    depths_m: dict[str, Float32[np.ndarray, "point"]]
    """Of all points in the images."""
    far_m: float
    doubts: tuple[str, ...]

    def describe(self) -> list[str]:
        """Lines of the plan."""
        low, high = NEAR_M, self.far_m
        count = ", ".join(f"{camera} {points}" for camera, points in self.first_points.items())
        lines = [f"LiDAR points of its first rig: {count}"]
        if blind := [camera for camera, points in self.first_points.items() if not points]:
            lines.append(f"none lies in {', '.join(blind)}: {ASK_WHY}")
        seen = {camera: depth_m for camera, depth_m in self.depths_m.items() if len(depth_m)}
        shares = {camera: float(_in_range(depth_m, high).mean()) for camera, depth_m in seen.items()}
        each = ", ".join(f"{camera} {np.median(seen[camera]):.1f} m ({share:.0%})" for camera, share in shares.items())
        lines.append(f"LiDAR depth in {counted(self.rigs, 'rig')}, median (and share of {low:g} to {high:g} m): {each}")
        if out := [camera for camera, share in shares.items() if share < FEW_IN_RANGE]:
            lines.append(f"most are out of range in {', '.join(out)}: {ASK_WHY}")
        return lines + [f"doubtful: {doubt}" for doubt in self.doubts]


def few_rigs(dataset: RigDataset, split: str, samples: Sequence[SampleRef], first: RigFrames) -> list[RigFrames]:
    """The first rig of a split, which is loaded, one half way and the last, as far as they can be read."""
    others = [ref for ref in dict.fromkeys((samples[len(samples) // 2], samples[-1])) if not _is(ref, first)]
    return [first, *(rig for ref in others if not isinstance(rig := try_load(dataset, split, ref), Unusable))]


def survey_lidar(
    dataset: RigDataset, split: str, samples: Sequence[SampleRef], rigs: Sequence[RigFrames]
) -> LidarSurvey:
    """Look at a split's sweeps, and at what a few of its rigs, which are loaded, show of them.

    Raises DatasetError where a sweep cannot be one, and where no point of any lies in an image or none in range: hours
    later it would be training that finds out.
    """
    first = rigs[0]
    doubts = _sweep_doubts(dataset, split, samples, first)
    where = f"{first.scene} sample {first.sample}" + (f", nor of {len(rigs) - 1} more" if len(rigs) > 1 else "")
    depths_m = {
        camera: np.concatenate([rig.lidar[view].depth_m for rig in rigs]) for view, camera in enumerate(dataset.cameras)
    }
    far = far_m(dataset.name)
    found = None
    if not any(map(len, depths_m.values())):
        found = "lies in an image"
    elif not any(_in_range(depth_m, far).any() for depth_m in depths_m.values()):
        found = f"in an image is {NEAR_M:g} to {far:g} m away"
    if found is not None:
        raise DatasetError(
            f"no LiDAR point of {where} of split {split}, {found}; expected some: {ASK_WHY} Without LiDAR, pass "
            "--without-lidar"
        )
    for view, camera in enumerate(dataset.cameras):
        turned = [value for rig in rigs if (value := _rows_and_depths(rig.lidar[view])) is not None]
        under = np.concatenate([_below_m(rig.lidar[view], rig.intrinsics_px[view]) for rig in rigs]) > UNDER_M
        if turned and np.median(turned) > UPSIDE_DOWN and under.mean() > UNDER_SHARE:
            doubts.append(f"in {camera} LiDAR points are farther the lower they lie: is it, or the LiDAR, upside down?")
    return LidarSurvey(
        rigs=len(rigs),
        first_points={camera: len(view.depth_m) for camera, view in zip(dataset.cameras, first.lidar, strict=True)},
        depths_m=depths_m,
        far_m=far,
        doubts=tuple(doubts),
    )


def _sweep_doubts(dataset: RigDataset, split: str, samples: Sequence[SampleRef], first: RigFrames) -> list[str]:
    """What is doubtful of up to 16 sweeps, spread over a split: of the first that is, and how many are.

    Raises DatasetError where one of them cannot be, or most are odd.
    """
    probes = dict.fromkeys(np.linspace(0, len(samples) - 1, SWEEPS).astype(int).tolist())
    sweeps = [sweep for index in probes if (sweep := _sweep(dataset, split, samples[index])) is not None]
    if sweeps and not any(len(met_something(sweep.points_m)) for sweep in sweeps):
        met = " that is finite and away from the origin" if any(len(sweep.points_m) for sweep in sweeps) else ""
        raise DatasetError(
            f"{sweeps[0].file}: holds no point{met}, like each of {counted(len(sweeps), 'sweep')} of split {split} "
            "looked at; expected LiDAR points: mend the files, or pass --without-lidar"
        )
    found: list[tuple[str, tuple[str, ...]]] = []
    odd: list[OddSweepError] = []
    for sweep in sweeps:
        try:
            doubts = sweep_doubts(sweep, first.rig_from_camera)
        except OddSweepError as error:
            odd.append(error)
            doubts = (str(error).removeprefix(f"{sweep.file}: "),)
        if doubts:
            found.append((sweep.file, doubts))
    if len(odd) > len(sweeps) / 2:
        raise odd[0]
    if not found:
        return []
    file, doubts = found[0]
    return [f"{len(found)} of {counted(len(sweeps), 'sweep')} looked at, such as {file}: {'; '.join(doubts)}"]


def _sweep(dataset: RigDataset, split: str, ref: SampleRef) -> Sweep | None:
    """A sample's sweep; none where it is damaged, which whoever reads all of them tells."""
    try:
        return dataset.sweep(split, ref)
    except DatasetError:
        return None


def _below_m(view: LidarView, intrinsics_px: Float32[np.ndarray, "3 3"]) -> Float32[np.ndarray, "point"]:
    """How far below the camera's axis points lie, in metres."""
    found: np.ndarray = (view.uv_px[:, 1] - intrinsics_px[1, 2]) / intrinsics_px[1, 1] * view.depth_m
    return found


def _is(ref: SampleRef, rig: RigFrames) -> bool:
    return (ref.scene, ref.sample) == (rig.scene, rig.sample)


def _in_range(depth_m: Float32[np.ndarray, "point"], far: float) -> np.ndarray:
    return (depth_m > NEAR_M) & (depth_m < far)


def _rows_and_depths(view: LidarView) -> float | None:
    """Rank correlation of the rows of an image's points and their depths; None for too few points, or one row."""
    rows = view.uv_px[:, 1]
    if len(rows) < ENOUGH or rows.min() == rows.max() or view.depth_m.min() == view.depth_m.max():
        return None
    by_row, by_depth = (np.argsort(np.argsort(each, kind="stable"), kind="stable") for each in (rows, view.depth_m))
    return float(np.corrcoef(by_row, by_depth)[0, 1])
