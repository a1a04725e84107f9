"""How the data that a student was trained on differ from those that it is scored on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cache_schema import Cache, DatasetIdentity, ImageSpec, Manifest
from stages.train.student import StudentConfig
from stages.trained_rigs import count_trained

PROVENANCE = "provenance.json"


class _Split(BaseModel):
    samples_sha256: str


class _TrainedOn(BaseModel):
    """What is read of a run's record of its data."""

    dataset: DatasetIdentity
    image: ImageSpec
    split: _Split

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.dataset.name, self.dataset.version, self.split.samples_sha256


def trained_otherwise(run: Path, student: StudentConfig, manifest: Manifest) -> tuple[str, ...]:
    """What of a cache is not as the student of a run has learned it; nothing where all is usual.

    A run without a record of its data tells the size of its images and the range of its depths.
    """
    trained = _trained_on(run)
    return tuple(_differences(trained, student, manifest))


def seen_before(run: Path, cache: Cache, split: str) -> tuple[str, ...]:
    """How many rigs of a split the student of a run has learned from, in words; nothing where none.

    A run of an earlier version has no list of its rigs, and tells only whether it learned from the whole split.
    """
    rigs = cache.manifest.splits[split].rigs
    seen = count_trained(run, cache, split)
    if seen is None:
        trained, here = _trained_on(run), cache.manifest.dataset
        this = here.name, here.version, cache.manifest.splits[split].samples_sha256
        seen = rigs if trained is not None and trained.identity == this else 0
    if seen == rigs:
        return ("the very rigs that are scored",)
    return (f"{seen} of the {rigs} rigs that are scored",) if seen else ()


def _differences(trained: _TrainedOn | None, student: StudentConfig, manifest: Manifest) -> Iterator[str]:
    here = manifest.dataset
    size = student.image_size if trained is None else (trained.image.height, trained.image.width)
    if size is not None and size != (manifest.image.height, manifest.image.width):
        yield f"images of {_size(size)}, not {_size((manifest.image.height, manifest.image.width))}"
    if trained is not None:
        yield from _other_cameras(trained.dataset, here)
    usual = student.d_max_m if trained is None else trained.dataset.far_m  # a range that was chosen surprises nobody
    if usual != here.far_m:
        yield f"depths of {student.d_min_m:g} to {student.d_max_m:g} m, not to {here.far_m:g} m"


def _other_cameras(there: DatasetIdentity, here: DatasetIdentity) -> Iterator[str]:
    if there.cameras != here.cameras:
        yield f"{len(there.cameras)} cameras {_ring(there)}, not {len(here.cameras)}: {_ring(here)}"
    elif there.adjacent_pairs != here.adjacent_pairs:
        yield f"{len(there.adjacent_pairs)} pairs of neighbours, not {len(here.adjacent_pairs)}"
    if there.native_size != here.native_size:
        yield f"raw frames of {_size(there.native_size)}, not {_size(here.native_size)}"


def _ring(dataset: DatasetIdentity) -> str:
    return " → ".join(dataset.cameras)


def _size(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]} × {size_hw[0]}"


def _trained_on(run: Path) -> _TrainedOn | None:
    try:
        return _TrainedOn.model_validate(json.loads((run / PROVENANCE).read_bytes())["data"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
