"""Whether a plan has one rig twice, under whatever names: it would be both trained on and scored, or count double."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.cache_teacher.datasets.raw_files import decode_rgb
from stages.wording import counted

SAMPLED = 64
"""Rigs of a scene of which some bytes are read at most."""
SAMPLE_BYTES = 4096
"""So many at the beginning of a file and in its middle differ in two photographs."""
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
    pair: tuple[int, int] = (0, 0)
    """The cameras by which it is compared."""

    @property
    def compared(self) -> tuple[str, str]:
        """The images of these."""
        return self.paths[self.pair[0]], self.paths[self.pair[1]]

    @property
    def scene(self) -> tuple[str, str]:
        return self.split, self.ref.scene

    def __str__(self) -> str:
        return f"{self.ref.scene} sample {self.ref.sample} of {self.split}"


def find_repeats(dataset: RigDataset, splits: Mapping[str, Sequence[SampleRef]]) -> list[str]:
    """What two splits share under one name, as TRI's small datasets do on purpose, a line for each two.

    Rigs are compared by the names of their images and the sizes of these files, which the listings of folders tell.
    Where both sizes agree of two cameras, in front or behind, of rigs of two scenes, so that one altered image hides
    no copy, 8 kB of each are read, of up to 64 rigs of a scene, and whole files only where those agree. Raises
    DatasetError where two rigs have the same images: the same files or, in different scenes, copies of them.
    """
    by_paths: dict[tuple[str, ...], _Rig] = {}
    by_sizes: dict[tuple[int, ...], list[_Rig]] = defaultdict(list)
    pairs = _two_pairs(len(dataset.cameras))
    shared: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for split, ref in ((split, ref) for split, refs in splits.items() for ref in refs):
        files = dataset.image_files(split, ref)
        rig = _Rig(split, ref, tuple(os.path.normpath(file.path) for file in files))
        _refuse_one_file(rig, dataset.cameras)
        before = by_paths.setdefault(rig.paths, rig)
        if before is rig:
            for pair in pairs:
                by_sizes[*pair, *(files[camera].size for camera in pair)].append(replace(rig, pair=pair))
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


def _two_pairs(cameras: int) -> list[tuple[int, int]]:
    """Two pairs of neighbouring cameras that share none, where there are four: in front and behind."""
    starts = dict.fromkeys((0, cameras // 2))
    return [(start, (start + 1) % cameras) for start in starts]


def _refuse_copies(alike: Iterable[Sequence[_Rig]]) -> None:
    """Raise DatasetError where rigs of two scenes, alike in the sizes of the images compared, have the same.

    Rigs of one scene may: a simulated car that stands sees the same twice.
    """
    sampled: Counter[tuple[tuple[str, str], tuple[int, int]]] = Counter()
    for rigs in alike:
        if len({rig.scene for rig in rigs}) == 1:
            continue
        seen: dict[bytes, list[_Rig]] = defaultdict(list)
        for rig in rigs:
            if sampled[rig.scene, rig.pair] == SAMPLED:
                continue
            sampled[rig.scene, rig.pair] += 1
            sample = _sample(rig.compared)
            others = [] if sample is None else [other for other in seen[sample] if other.scene != rig.scene]
            if sample is not None and not others:
                seen[sample].append(rig)
            if others and _same(rig.compared, others[0].compared):
                before = others[0]
                raise DatasetError(
                    f"{before} and {rig} have the same images, byte for byte ({before.compared[0]} and "
                    f"{rig.compared[0]}); {REMEDY}"
                )


def _sample(paths: Sequence[str]) -> bytes | None:
    """Some bytes of images; None where they cannot be read: whoever loads them says what is wrong."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with Path(path).open("rb") as file:
                digest.update(file.read(SAMPLE_BYTES))
                file.seek(max(os.fstat(file.fileno()).st_size - SAMPLE_BYTES, 0) // 2)
                digest.update(file.read(SAMPLE_BYTES))
        except OSError:
            return None
    return digest.digest()


def _same(paths: Sequence[str], others: Sequence[str]) -> bool:
    """Whether images are the same, byte for byte, and show something, as those of covered lenses do not."""
    shows = False
    for path, other in zip(paths, others, strict=True):
        try:
            data = Path(path).read_bytes()
            if data != Path(other).read_bytes():
                return False
            pixels = decode_rgb(data, Path(path))
        except (OSError, DatasetError):
            return False
        shows |= bool((pixels != pixels[0, 0]).any())
    return shows


def _doubts(shared: Mapping[tuple[str, str], Counter[str]]) -> Iterator[str]:
    for (one, other), rigs in shared.items():
        yield (f"{one} and {other} share {counted(rigs.total(), 'rig')} of {', '.join(sorted(rigs)[:SHOWN])}: {SEEN}")


def _name(ref: SampleRef) -> tuple[str, str]:
    return ref.scene, ref.sample
