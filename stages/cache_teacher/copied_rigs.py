"""Which rigs of different scenes are copies: told from sizes of files, a little of what they hold, then few images."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import SampleRef
from stages.cache_teacher.datasets.raw_files import decode_rgb

CROWD = 32
"""Where more rigs share what sizes tell, as of PNGs without compression, sizes of any two are not compared."""
SAMPLE_BYTES = 16_384
SAMPLES = 40_000
"""Images of which that many bytes are read, from their middle, at most: 655 MB."""
READ = 4
"""Rigs of a scene whose images are read whole at most."""
SHIFTED = 3
"""So many files that differ by one number of bytes are images with the same note added, and no chance."""


@dataclass(frozen=True, eq=False)
class PlannedRig:
    """A rig of the plan, and its images: their paths and the sizes of their files in bytes."""

    split: str
    ref: SampleRef
    paths: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def scene(self) -> tuple[str, str]:
        """What may repeat a rig: a simulated car that stands sees the same twice."""
        return self.split, self.ref.scene

    def __str__(self) -> str:
        return f"{self.ref.scene} sample {self.ref.sample} of {self.split}"


@dataclass(frozen=True)
class Copy:
    """Two rigs of different scenes, and the cameras whose images they share."""

    rigs: tuple[PlannedRig, PlannedRig]
    cameras: tuple[int, ...]


def find_copy(rigs: Sequence[PlannedRig]) -> Copy | None:
    """The first two rigs of different scenes with the same pixels in more than half of the cameras that show something.

    Rigs whose files agree in size in more than half of the cameras are told from each other by 16 kB from the middle of
    half of their images, of 40,000 images at most. Where those agree, too, or all sizes differ by one number of bytes,
    as where a comment was added, images are decoded, of up to four rigs of a scene.
    """
    looked: dict[PlannedRig, tuple[bytes | None, ...]] = {}
    read: Counter[tuple[str, str]] = Counter()
    for suspects in _suspects(rigs):
        among: list[PlannedRig] = []
        for rig in suspects:
            if rig not in looked:
                if read[rig.scene] == READ:
                    continue
                read[rig.scene] += 1
                looked[rig] = tuple(map(_pixels, rig.paths))
            among.append(rig)
            for other in among:
                if other.scene != rig.scene and (cameras := _same(looked[other], looked[rig])):
                    return Copy((other, rig), cameras)
    return None


def _suspects(rigs: Sequence[PlannedRig]) -> Iterator[Sequence[PlannedRig]]:
    """Rigs of two scenes or more that may be one."""
    agree: dict[PlannedRig, None] = {}
    for group in _groups((rig, _size_keys(rig.sizes)) for rig in rigs):
        if len(group) > CROWD or len(group[0].sizes) < SHIFTED:
            agree.update(dict.fromkeys(group))
            continue
        for pair in combinations(group, 2):
            if pair[0].scene == pair[1].scene:
                continue
            shifts = Counter(b - a for a, b in zip(pair[0].sizes, pair[1].sizes, strict=True))
            most = _most(len(pair[0].sizes))
            if shifts[0] >= most:
                agree.update(dict.fromkeys(pair))
            elif max(shifts.values()) >= max(most, SHIFTED):
                yield pair
    yield from _groups((rig, _sample_keys(rig)) for rig in _first_of_scenes(agree))


def _groups(keyed: Iterable[tuple[PlannedRig, Iterable[Hashable]]]) -> Iterator[Sequence[PlannedRig]]:
    """The rigs that share a key, where they are of two scenes or more."""
    groups: dict[Hashable, list[PlannedRig]] = defaultdict(list)
    for rig, keys in keyed:
        for key in keys:
            groups[key].append(rig)
    return (group for group in groups.values() if len({rig.scene for rig in group}) > 1)


def _size_keys(sizes: Sequence[int]) -> Iterable[Hashable]:
    """What rigs share of which more than half of the files agree in size, but for a number that all differ by.

    More than half of a ring's cameras have two neighbours among them.
    """
    if len(sizes) < SHIFTED:
        return [sizes]
    return [(camera, sizes[camera] - sizes[camera - 1]) for camera in range(len(sizes))]


def _most(cameras: int) -> int:
    return cameras // 2 + 1


def _first_of_scenes(rigs: Iterable[PlannedRig]) -> Iterator[PlannedRig]:
    """As many rigs of each scene as may be sampled."""
    scenes: Mapping[tuple[str, str], list[PlannedRig]] = defaultdict(list)
    for rig in rigs:
        scenes[rig.scene].append(rig)
    for of_scene in scenes.values():
        yield from of_scene[: max(READ, SAMPLES // (len(scenes) * _sampled(of_scene[0])))]


def _sampled(rig: PlannedRig) -> int:
    """Cameras of which one is among any that are more than half."""
    return len(rig.paths) - _most(len(rig.paths)) + 1


def _sample_keys(rig: PlannedRig) -> Iterator[Hashable]:
    for camera in range(_sampled(rig)):
        if (sample := _sample(rig.paths[camera], rig.sizes[camera])) is not None:
            yield camera, rig.sizes[camera], sample


def _sample(path: str, size: int) -> bytes | None:
    """What an image's middle is known by; None where it cannot be read, or is of one byte, as black is."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, (size - SAMPLE_BYTES) // 2))
            data = file.read(SAMPLE_BYTES)
    except OSError:
        return None
    return hashlib.sha256(data).digest() if data.strip(data[:1]) else None


def _pixels(path: str) -> bytes | None:
    """What an image is known by, notes in its file aside; None where it cannot be read, or shows but one colour."""
    try:
        pixels = decode_rgb(Path(path).read_bytes(), Path(path))
    except (OSError, DatasetError):
        return None  # whoever loads it says what is wrong
    return hashlib.sha256(pixels.tobytes()).digest() if (pixels != pixels[0, 0]).any() else None


def _same(one: Sequence[bytes | None], other: Sequence[bytes | None]) -> tuple[int, ...]:
    """The cameras of which two rigs have the same image; none where those are not most that show something."""
    shown = [camera for camera, pair in enumerate(zip(one, other, strict=True)) if pair != (None, None)]
    same = tuple(camera for camera in shown if one[camera] == other[camera])
    return same if len(same) >= _most(len(shown)) else ()
