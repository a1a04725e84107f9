"""Whether a plan has one rig twice, under whatever names: it would be both trained on and scored, or count double."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from cache_schema.errors import DatasetError
from stages.cache_teacher.copied_rigs import PlannedRig, find_copy
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.wording import counted

SHOWN = 3
"""Scenes that a doubt names."""
SEEN = "who learns from the one and is scored on the other has seen the answers"
REMEDY = "expected each rig once, in one split: take one out of the lists, or leave it out with --skip"


def find_repeats(dataset: RigDataset, splits: Mapping[str, Sequence[SampleRef]]) -> list[str]:
    """What two splits share under one name, as TRI's small datasets do on purpose, a line for each two.

    Rigs are compared by the names of their images, then as `find_copy` does it: nearly always by the sizes of files,
    which the listings of folders tell. Raises DatasetError where two rigs are one: the same files or, in different
    scenes, the same pixels in most cameras.
    """
    planned: dict[tuple[str, ...], PlannedRig] = {}
    shared: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for split, ref in ((split, ref) for split, refs in splits.items() for ref in refs):
        files = dataset.image_files(split, ref)
        paths = tuple(os.path.normpath(file.path) for file in files)
        rig = PlannedRig(split, ref, paths, tuple(file.size for file in files))
        _refuse_one_file(rig, dataset.cameras)
        before = planned.setdefault(paths, rig)
        if before is rig:
            continue
        if before.split == split or _name(before.ref) != _name(ref):
            raise DatasetError(f"{before} and {rig} are one: both have the image {rig.paths[0]}; {REMEDY}")
        shared[before.split, split][ref.scene] += 1
    _refuse_copies(list(planned.values()))
    return list(_doubts(shared))


def _refuse_one_file(rig: PlannedRig, cameras: Sequence[str]) -> None:
    for i, path in enumerate(rig.paths):
        if (first := rig.paths.index(path)) < i:
            raise DatasetError(
                f"{rig}: {cameras[first]} and {cameras[i]} have the same image {path}; expected one of each camera's "
                "own; mend what names it"
            )


def _refuse_copies(rigs: Sequence[PlannedRig]) -> None:
    if (copy := find_copy(rigs)) is None:
        return
    one, other = copy.rigs
    first = copy.cameras[0]
    raise DatasetError(
        f"{one} and {other} have the same images of {len(copy.cameras)} of {counted(len(one.paths), 'camera')}, pixel "
        f"for pixel, such as {one.paths[first]} and {other.paths[first]}; {REMEDY}"
    )


def _doubts(shared: Mapping[tuple[str, str], Counter[str]]) -> Iterator[str]:
    for (one, other), rigs in shared.items():
        yield (f"{one} and {other} share {counted(rigs.total(), 'rig')} of {', '.join(sorted(rigs)[:SHOWN])}: {SEEN}")


def _name(ref: SampleRef) -> tuple[str, str]:
    return ref.scene, ref.sample
