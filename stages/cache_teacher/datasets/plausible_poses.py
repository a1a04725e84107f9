"""Whether cameras can be where a dataset says they are on the car, and the car where it says it is in the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, groupby

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.wording import counted

SAME_M, SAME_ROTATION = 1e-4, 1e-4
"""No two cameras are calibrated to be so near each other, in metres and in elements of their rotations."""
OTHER_LENS = 0.05
"""Two cameras of one pose whose intrinsics differ by more than this part of the focal length see different views, as a
tele and a wide lens in a simulator or two crops of one image do; those of two cameras of one make do not."""
FLAT_LEVELS = 8
"""Nearly all values of an image of a covered lens lie within so many of 255, for its noise."""
STAMPED = 2.5
"""Percent of the values at either end that do not count, for a time burnt into the image."""
WIDEST_CAR_M = 50.0
"""Two cameras of one car are not farther apart."""
WIDEST_RIG_M = 100.0
"""Nor are they where they looked, a second apart at full speed."""
FASTEST_M_PER_S = 150.0
STANDS_M = 0.05
"""A car that moved less stood, and its speed tells nothing."""
LEAST_MOVE_M, LEAST_S = 5.0, 1e-3
"""Below these a speed is noise of poses or of times."""
FAR_MOVE_M = 50.0
LONGEST_JUMP_M = 300.0
"""Between two rigs without times."""
NEARLY_ALL = 0.9
IN_METRES = "expected world_from_rig in metres"


def require_cameras_apart(
    rig_from_camera: Mapping[str, Float64[np.ndarray, "4 4"]],
    intrinsics_px: Sequence[Float32[np.ndarray, "3 3"]],
    source: str,
) -> list[str]:
    """What is doubtful of the places of one car's cameras: one for two cameras with different lenses.

    Raises DatasetError where two with the same lens are at one place and look one way, or are no car's length apart.
    Cameras at one place that look different ways are those of a head of several lenses.
    """
    names, poses = tuple(rig_from_camera), np.stack(list(rig_from_camera.values()))
    doubts = []
    for pair in _one_pose(poses):
        one, other = (names[i] for i in pair)
        if _two_lenses(*(intrinsics_px[i] for i in pair)):
            doubts.append(
                f"{one} and {other} are at the same place on the car and look the same way, with other intrinsics: is "
                "the pose of the one that of the other?"
            )
            continue
        raise DatasetError(
            f"{source}: {one} and {other} are at the same place on the car and look the same way "
            f"({_position(poses[pair[0]])}); expected a pose of its own for each: is the one a copy of the other?"
        )
    (first, second), apart_m = _farthest(poses)
    if apart_m > WIDEST_CAR_M:
        raise DatasetError(
            f"{source}: {names[first]} and {names[second]} are {apart_m:.4g} m apart on the car; expected less than "
            f"{WIDEST_CAR_M:g} m: are positions of cameras in metres?"
        )
    return doubts


def require_views_apart(rigs: Sequence[RigFrames], cameras: Sequence[str]) -> list[str]:
    """What is doubtful of the poses and images of a few rigs.

    Raises DatasetError where two cameras of one looked from one place in one direction or have the same image, and
    where those of every rig looked from places that no car joins.
    """
    wide: list[str] = []
    one_colour: dict[str, None] = {}
    for rig in rigs:
        where = f"{rig.scene} sample {rig.sample}"
        for pair in _one_pose(rig.world_from_camera):
            if _two_lenses(*(rig.intrinsics_px[i] for i in pair)):
                continue  # told where the car's cameras are judged
            one, other = (cameras[i] for i in pair)
            raise DatasetError(
                f"{where}: {one} and {other} have the same pose in the world "
                f"({_position(rig.world_from_camera[pair[0]])}); expected one of its own for each: is the one a copy "
                "of the other?"
            )
        (first, second), apart_m = _farthest(rig.world_from_camera)
        if apart_m > WIDEST_RIG_M:
            wide.append(f"{where}: {cameras[first]} and {cameras[second]} looked from places {apart_m:.4g} m apart")
        for i, j in combinations(range(len(cameras)), 2):
            if rig.image_files[i] and rig.image_files[i] == rig.image_files[j]:
                if np.ptp(rig.images[i], axis=(0, 1)).any():
                    raise DatasetError(
                        f"{where}: {cameras[i]} and {cameras[j]} have the same image, byte for byte; expected one of "
                        "each camera's own: mend the files or what names them"
                    )
                one_colour[f"{cameras[i]} and {cameras[j]}"] = None
    if wide and len(wide) == len(rigs):
        raise DatasetError(f"{wide[0]}; expected less than {WIDEST_RIG_M:g} m: are poses in metres?")
    doubts = [f"{wide[0]}: are poses in metres?"] if wide else []
    if flat := [name for i, name in enumerate(cameras) if all(_is_flat(rig.images[i]) for rig in rigs)]:
        doubts.append(
            f"images of {', '.join(flat)} show nothing, in {counted(len(rigs), 'rig')} looked at: does the camera work?"
        )
    elif one_colour:
        doubts.append(f"images of {', '.join(one_colour)} are the same, and of one colour: does the camera work?")
    return doubts


def drive_doubts(dataset: RigDataset, split: str, samples: Sequence[SampleRef]) -> list[str]:
    """What is doubtful of how the car moves from rig to rig.

    Raises DatasetError where nearly all its moves are faster than a car can be.
    """
    moves_m, times_s, names = _moves(dataset, split, samples)
    timed = times_s > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = np.where(timed, moves_m / times_s, 0)
    fast = (speed > FASTEST_M_PER_S) & (moves_m > LEAST_MOVE_M)
    moved = timed & (moves_m > STANDS_M)
    if fast.any():
        first = int(np.argmax(fast))
        found = (
            f"{int(fast.sum())} of {counted(int(moved.sum()), 'move')} from rig to rig {_are(fast)} faster than "
            f"{FASTEST_M_PER_S:g} m/s, such as {moves_m[first]:.4g} m in {times_s[first]:.4g} s to {names[first]}"
        )
        far = float(np.median(moves_m[fast])) > FAR_MOVE_M and float(np.median(times_s[fast])) >= LEAST_S
        if far and fast.sum() >= NEARLY_ALL * moved.sum():
            raise DatasetError(
                f"split {split}: {found}; {IN_METRES}, and timestamps in microseconds: mend the poses or the times"
            )
        return [f"{found}: are poses in metres, and timestamps in microseconds?"]
    jumps = ~timed & (moves_m > LONGEST_JUMP_M)
    if not jumps.any():
        return []
    first = int(np.argmax(jumps))
    return [
        f"{int(jumps.sum())} of {counted(len(moves_m), 'move')} from rig to rig {_are(jumps)} longer than "
        f"{LONGEST_JUMP_M:g} m, "
        f"such as {moves_m[first]:.4g} m to {names[first]}: are poses in metres?"
    ]


def _moves(
    dataset: RigDataset, split: str, samples: Sequence[SampleRef]
) -> tuple[Float64[np.ndarray, "move"], Float64[np.ndarray, "move"], list[str]]:
    """Metres and seconds from each rig to the next of its scene, and the name of the latter."""
    moves_m: list[float] = []
    times_s: list[float] = []
    names: list[str] = []
    for scene, refs in groupby(samples, key=lambda ref: ref.scene):
        before: tuple[np.ndarray, int] | None = None
        for ref in refs:
            try:
                position_m = dataset.world_from_rig(split, ref)[:3, 3]
            except DatasetError:
                before = None  # whoever loads it says what is wrong
                continue
            if before is not None:
                moves_m.append(float(np.linalg.norm(position_m - before[0])))
                times_s.append(abs(ref.timestamp - before[1]) / 1e6)
                names.append(f"{scene} sample {ref.sample}")
            before = position_m, ref.timestamp
    return np.array(moves_m), np.array(times_s), names


def _are(found: Bool[np.ndarray, "move"]) -> str:
    return "is" if found.sum() == 1 else "are"


def _two_lenses(one_px: Float32[np.ndarray, "3 3"], other_px: Float32[np.ndarray, "3 3"]) -> bool:
    return bool(np.abs(one_px - other_px).max() > OTHER_LENS * min(one_px[0, 0], other_px[0, 0]))


def _is_flat(image: UInt8[np.ndarray, "H W 3"]) -> bool:
    """Whether an image is of one colour, but for noise."""
    low, high = np.percentile(image[::4, ::4], [STAMPED, 100 - STAMPED], axis=(0, 1))
    return bool((high - low <= FLAT_LEVELS).all())


def _one_pose(poses: Float64[np.ndarray, "V 4 4"]) -> Iterator[tuple[int, int]]:
    """Each two of some poses that are one."""
    for i, j in combinations(range(len(poses)), 2):
        rotated = np.abs(poses[i, :3, :3] - poses[j, :3, :3]).max()
        if rotated < SAME_ROTATION and np.linalg.norm(poses[i, :3, 3] - poses[j, :3, 3]) < SAME_M:
            yield i, j


def _farthest(poses: Float64[np.ndarray, "V 4 4"]) -> tuple[tuple[int, int], float]:
    """The two poses that are farthest apart, and how far in metres."""
    apart_m = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=-1)
    first, second = np.unravel_index(int(np.argmax(apart_m)), apart_m.shape)
    return (int(first), int(second)), float(apart_m.max())


def _position(pose: Float64[np.ndarray, "4 4"]) -> str:
    x, y, z = pose[:3, 3].tolist()
    return f"x {x:.4g}, y {y:.4g}, z {z:.4g} m"
