"""Whether a plan has one rig twice, under whatever names: it would be both trained on and scored, or count double."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.cache_teacher.datasets.raw_files import decode_rgb
from stages.wording import counted

READ = 4
"""Rigs of a scene whose images are read at most."""
SHOWN = 3
"""Scenes that a doubt names."""
SEEN = "who learns from the one and is scored on the other has seen the answers"
REMEDY = "expected each rig once, in one split: take one out of the lists, or leave it out with --skip"


@dataclass(frozen=True)
class _Rig:
    """A rig of the plan, and its images."""

    split: str
    ref: SampleRef
    paths: tuple[str, ...]

    @property
    def scene(self) -> tuple[str, str]:
        return self.split, self.ref.scene

    def __str__(self) -> str:
        return f"{self.ref.scene} sample {self.ref.sample} of {self.split}"


def find_repeats(dataset: RigDataset, splits: Mapping[str, Sequence[SampleRef]]) -> list[str]:
    """What two splits share under one name, as TRI's small datasets do on purpose, a line for each two.

    Rigs are compared by the names of their images and the sizes of these files, which the listings of folders tell.
    Only where all of those agree, images are read, of up to four rigs of a scene. Raises DatasetError where two rigs
    have the same images: the same files or, in different scenes, copies of them.
    """
    by_paths: dict[tuple[str, ...], _Rig] = {}
    by_sizes: dict[tuple[int, ...], list[_Rig]] = defaultdict(list)
    shared: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for split, ref in ((split, ref) for split, refs in splits.items() for ref in refs):
        files = dataset.image_files(split, ref)
        rig = _Rig(split, ref, tuple(os.path.normpath(file.path) for file in files))
        _refuse_one_file(rig, dataset.cameras)
        before = by_paths.setdefault(rig.paths, rig)
        if before is rig:
            by_sizes[tuple(file.size for file in files)].append(rig)
        elif before.split != split and _name(before.ref) == _name(ref):
            shared[before.split, split][ref.scene] += 1
        else:
            raise DatasetError(f"{before} and {rig} are one: both have the image {rig.paths[0]}; {REMEDY}")
    _refuse_copies(by_sizes.values())
    return list(_doubts(shared))


def _refuse_one_file(rig: _Rig, cameras: Sequence[str]) -> None:
    for i, path in enumerate(rig.paths):
        if (first := rig.paths.index(path)) < i:
            raise DatasetError(
                f"{rig}: {cameras[first]} and {cameras[i]} have the same image {path}; expected one of each camera's "
                "own; mend what names it"
            )


def _refuse_copies(alike: Iterable[Sequence[_Rig]]) -> None:
    """Raise DatasetError where rigs of two scenes, alike in the sizes of all their images, have the same.

    Rigs of one scene may: a simulated car that stands sees the same twice.
    """
    read: Counter[tuple[str, str]] = Counter()
    for rigs in alike:
        if len({rig.scene for rig in rigs}) == 1:
            continue
        seen: dict[str, _Rig] = {}
        for rig in rigs:
            if read[rig.scene] == READ:
                continue
            read[rig.scene] += 1
            content = _content(rig.paths)
            before = rig if content is None else seen.setdefault(content, rig)
            if before.scene != rig.scene:
                raise DatasetError(
                    f"{before} and {rig} have the same images, byte for byte ({before.paths[0]} and {rig.paths[0]}); "
                    f"{REMEDY}"
                )


def _content(paths: Sequence[str]) -> str | None:
    """What a rig's images are known by; None where they cannot be read, or show nothing, as those of a covered lens."""
    digest = hashlib.sha256()
    shows = False
    for path in paths:
        try:
            data = Path(path).read_bytes()
            if not shows:
                pixels = decode_rgb(data, Path(path))
                shows = bool((pixels != pixels[0, 0]).any())
        except (OSError, DatasetError):
            return None  # whoever loads it says what is wrong
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest() if shows else None


def _doubts(shared: Mapping[tuple[str, str], Counter[str]]) -> Iterator[str]:
    for (one, other), rigs in shared.items():
        yield (f"{one} and {other} share {counted(rigs.total(), 'rig')} of {', '.join(sorted(rigs)[:SHOWN])}: {SEEN}")


def _name(ref: SampleRef) -> tuple[str, str]:
    return ref.scene, ref.sample
