"""The rigs that a study learns from and is scored on: how they come into a cache, each of them once.

Where nobody says where they are to be, a place follows from the settings: the same towns are generated once, the same
frames are cached once, and teachers or targets that differ stand beside each other in one cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from cache_schema import Cache, CacheLocation
from pipeline.study.part import Part
from stages.cache_teacher import execute as cache_execute
from stages.cache_teacher import plan as cache_plan
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.street import generate
from stages.cache_teacher.datasets.street.spec import StreetSpec
from stages.progress import Progress
from stages.train.config import TrainConfig

_ANYWHERE: Final = {"device": "auto", "workers": None, "scheduler": None, "readers": None}
"""Settings that change nothing in a cache, as they are unless given."""
_OF_THE_TEACHER: Final = {"teacher", "targets"}


@dataclass(frozen=True)
class CachedRigs:
    """A cache, and how it is made; `cache` is none where it is there already."""

    name: str
    """Of the part that makes it; unique in a study."""
    location: CacheLocation
    cache: CacheTeacherConfig | None = None
    street: StreetSpec | None = None
    """Towns of the embedded world, generated into `cache.root`; none: the raw data are there."""
    world: str = "street"
    """Of the part that generates the towns."""
    called: str | None = None
    """What its teacher is called among people, where its name in the cache is a longer one."""

    @property
    def teacher(self) -> str | None:
        """Name of its teacher in the cache, where the settings say it."""
        return None if self.cache is None else self.cache.teacher.called

    def identity(self, training: TrainConfig | None = None) -> str:
        """Digest of all that decides what such a training learns from it; without one, or a teacher, of its frames.

        Raises CacheMissingError where it should be there.
        """
        teacher = training is not None and training.losses.needs_teacher
        if self.cache is not None:
            frames = _frames(self.cache, self.street)
            return digest(frames, _teacher(self.cache)) if teacher else frames
        manifest = Cache(self.location).manifest
        samples = {name: split.samples_sha256 for name, split in manifest.splits.items()}
        named = None if training is None else training.teacher
        heard = [record for name, record in manifest.teachers.items() if teacher and named in (None, name)]
        return digest(manifest.dataset, manifest.image, json.dumps(samples, sort_keys=True), *heard)

    @property
    def content(self) -> str:
        """Digest of all that decides what is in the cache, teachers included. Raises CacheMissingError."""
        if self.cache is None:
            return digest(Cache(self.location).manifest)
        return digest("" if self.street is None else self.street, self.cache.model_copy(update=_ANYWHERE))

    def parts(self, code_version: str) -> list[Part]:
        """What is to be done to have it, the last of which completes it."""
        if self.cache is None:
            return []
        made = []
        if self.street is not None:
            made.append(_street_part(self.street, self.cache.root, self.world))
        needs = tuple(part.name for part in made)
        return [*made, _cache_part(self, self.cache, code_version, needs)]

    def rigs(self, split: str) -> int:
        """Rigs of a split, looked up where it is cheapest. Raises what stage 1 raises on data that are not there."""
        if self.cache is None:
            return Cache(self.location).manifest.splits[split].rigs
        if self.street is not None:
            rigs = len(self.street.splits[split].towns) * self.street.splits[split].rigs
            return min(rigs, self.cache.limit or rigs)
        return next(part.record.rigs for part in cache_plan.plan(self.cache).splits if part.name == split)


def placed(cache: CacheTeacherConfig, street: StreetSpec | None, folder: Path) -> CachedRigs:
    """Rigs at the place in `folder` that follows from their settings, with their teacher under a name that does."""
    world = ""
    if street is not None:
        root, world = folder / street.version, f"world {street.version}"
        cache = cache.model_copy(update={"root": root, "ego_masks": root / "masks"})
    zarr = f"zarr-{_frames(cache, street)[:12]}"
    called = cache.teacher.called
    teacher = f"{called}-{_teacher(cache)[:8]}"
    update = {"cache": str(folder / zarr), "teacher": cache.teacher.model_copy(update={"name": teacher})}
    name = f"cache {zarr}, teacher {teacher}"
    return CachedRigs(name, str(folder / zarr), cache.model_copy(update=update), street, world, called)


def only_split(street: StreetSpec, split: str) -> StreetSpec:
    """The towns of one split alone."""
    kept = {name: None if name != split else street.splits[name] for name in ("train", "val")}
    return StreetSpec.model_validate({"size": street.size, "world": street.world, **kept})


def digest(*of: BaseModel | str) -> str:
    """SHA-256 of settings."""
    sha256 = hashlib.sha256()
    for each in of:
        sha256.update((each if isinstance(each, str) else each.model_dump_json()).encode() + b"\n")
    return sha256.hexdigest()


def given(settings: BaseModel, without: Iterable[str] = ()) -> str:
    """JSON of the settings that differ from their defaults, so that a setting that is new changes no digest."""
    found: dict[str, Any] = settings.model_dump(mode="json", exclude_defaults=True, exclude=set(without))
    return json.dumps(found, sort_keys=True)


def _frames(cache: CacheTeacherConfig, street: StreetSpec | None) -> str:
    apart = {*_ANYWHERE, *_OF_THE_TEACHER, "cache", "overwrite", "root", "ego_masks"}
    if street is not None:
        return digest(street.version, given(cache, apart))
    masks = "" if cache.ego_masks is None else str(cache.ego_masks.resolve())
    return digest(str(cache.root.resolve()), masks, given(cache, apart))


def _teacher(cache: CacheTeacherConfig) -> str:
    return digest(given(cache.teacher, {"name"}), given(cache.targets))


def _street_part(spec: StreetSpec, root: Path, name: str) -> Part:
    return Part(name, "street", "rigs", digest(spec), root / "ddad.json", partial(_generate, spec, root))


def _generate(spec: StreetSpec, root: Path, progress: Progress) -> None:
    generate.execute(generate.plan(spec, root), progress)


def _cache_part(rigs: CachedRigs, config: CacheTeacherConfig, code_version: str, needs: tuple[str, ...]) -> Part:
    what = digest(code_version, rigs.content)
    work = partial(_cache, config, code_version)
    return Part(rigs.name, "cache", "rigs", what, Path(rigs.location) / "zarr.json", work, needs)


def _cache(config: CacheTeacherConfig, code_version: str, progress: Progress) -> None:
    cache_execute.execute(cache_plan.plan(config), progress, code_version=code_version)
