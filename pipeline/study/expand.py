"""From a study's settings to its trials and the data that they need."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cache_schema import Cache
from cache_schema.errors import ConfigError
from pipeline import config as layers
from pipeline.reproduce.variants import VARIANTS
from pipeline.settings import cached_without_lidar, reproduce_defaults, street_without_lidar
from pipeline.study.config import Point, StudyConfig, TrialConfig, VariantConfig
from pipeline.study.data import CachedRigs, only_split, placed
from pipeline.study.study import Study, refuse_another_out, refuse_contradictions
from pipeline.study.trial import Trial, share_of_steps
from stages.train.config import UnlabelledConfig


def read_study(file: Path, assignments: list[str], options: dict[str, Any]) -> StudyConfig:
    """A study from its file, from `--set` and from options. Raises ConfigError."""
    base: dict[str, Any] = {}
    _refuse_empty_points(file)
    given = [value.strip() for key, _, value in (each.partition("=") for each in assignments) if key.strip() == "size"]
    size = given[-1] if given else layers.read_yaml(file, "the study").get("size")
    if size is not None:
        base = reproduce_defaults(size)
        for key in ("pictured", "targets_of"):  # a study shows no rigs, and says itself which targets a variant has
            base.pop(key, None)
    return layers.build(StudyConfig, file, assignments, options, base)


def _refuse_empty_points(file: Path) -> None:
    """Raise ConfigError on an axis or a point that was left empty: of other settings that means the default."""
    grid = layers.read_yaml(file, "the study", empty=True).get("grid")
    for axis, points in grid.items() if isinstance(grid, Mapping) else ():
        inner = points.items() if isinstance(points, Mapping) else ()
        empty = [f"{axis}"] if points is None else [f"{axis}.{label}" for label, changes in inner if changes is None]
        if empty:
            raise ConfigError(f"{file}: grid.{empty[0]} is empty; expected settings, as train.losses.kl: [0.3, 1.0]")


def expand(config: StudyConfig, out: Path, *, code_version: str) -> Study:
    """Every variant at every point of the grid; nothing is changed.

    Raises ConfigError for settings that a variant or a point makes wrong, rigs that would be learned from and scored
    on, or a folder that holds something else; CacheMissingError for a cache that should be there, TeacherError for a
    teacher that is nowhere.
    """
    refuse_another_out(out)
    folder = out / "data"
    cells = [(variant, place) for place in _places(config) for variant in config.variants]
    settings = [_settings(config, variant, place) for variant, place in cells]
    trials = tuple(_trial(*cell, each, folder) for cell, each in zip(cells, settings, strict=True))
    study = Study(
        trials=trials,
        seeds=tuple(config.train.seed + number for number in range(config.seeds)),
        scored=_scored(config, settings, folder),
        split=config.split,
        baseline=config.baseline,
        out=out,
        code_version=code_version,
        device=config.train.device,
        threads=config.threads,
        jobs=config.jobs,
        compare=config.compare,
        note=config.note,
        settings=config.model_dump(mode="json"),
    )
    refuse_contradictions(study)
    return study


def _places(config: StudyConfig) -> Iterator[dict[str, Point]]:
    """The points of the grid: one of every axis."""
    for points in itertools.product(*config.grid.values()):
        yield dict(zip(config.grid, points, strict=True))


def _name(variant: VariantConfig, place: dict[str, Point]) -> str:
    labels = [f"{axis.rpartition('.')[2]} {point.label}" for axis, point in place.items()]
    return ", ".join([variant.name, *labels])


def _settings(config: StudyConfig, variant: VariantConfig, place: dict[str, Point]) -> TrialConfig:
    """What is shared, changed by the points of the grid, then by the variant."""
    shared = config.model_dump(include=set(TrialConfig.model_fields), exclude_unset=True)
    changes = [point.set for point in place.values()]
    if variant.model is not None:
        changes.append(VARIANTS[variant.model].settings)
    for change in (*changes, variant.set):
        shared = layers.assigned(shared, change)
    return layers.validated(TrialConfig, shared, _name(variant, place))


def _trial(variant: VariantConfig, place: dict[str, Point], settings: TrialConfig, folder: Path) -> Trial:
    labelled, unlabelled, further = _labelled(settings, folder), _unlabelled(settings, folder), settings.unlabelled
    more = None
    if unlabelled is not None and further is not None:
        more = UnlabelledConfig(cache=unlabelled.location, split=further.split, batch_rigs=further.batch_rigs)
    training = share_of_steps(settings.train, more, learns=variant.unlabelled, same_images=variant.same_images)
    teacher = labelled.teacher or training.teacher
    training = training.model_copy(update={"teacher": teacher if training.losses.needs_teacher else None})
    return Trial(
        name=_name(variant, place),
        variant=variant.name,
        says=variant.sentence,
        training=training,
        labelled=labelled,
        unlabelled=None if training.unlabelled is None else unlabelled,
        place={axis: point.label for axis, point in place.items()},
    )


def _labelled(settings: TrialConfig, folder: Path) -> CachedRigs:
    split = settings.train.split
    if settings.ready is not None:
        return _there(settings.ready, split)
    return _cached(settings, split, folder)


def _unlabelled(settings: TrialConfig, folder: Path) -> CachedRigs | None:
    further, cache = settings.unlabelled, settings.cache
    if further is None:
        return None
    if further.cache is not None:
        return _there(further.cache, further.split)
    assert cache is not None
    street = None if settings.street is None else street_without_lidar(settings.street, further)
    return placed(cached_without_lidar(cache, further), street, folder)


def _scored(config: StudyConfig, settings: Sequence[TrialConfig], folder: Path) -> tuple[CachedRigs, ...]:
    """The rigs of the shared settings, labelled by every teacher that a trial learns from."""
    if config.ready is not None:
        return (_there(config.ready, config.split),)
    assert config.cache is not None
    heard = [each.cache.teacher for each in settings if each.cache and each.train.losses.needs_teacher]
    distinct = {teacher.model_dump_json(): teacher for teacher in heard or [config.cache.teacher]}
    caches = [config.cache.model_copy(update={"teacher": teacher}) for teacher in distinct.values()]
    return tuple(_cached(config.model_copy(update={"cache": cache}), config.split, folder) for cache in caches)


def _cached(settings: TrialConfig, split: str, folder: Path) -> CachedRigs:
    assert settings.cache is not None
    street = settings.street
    if street is not None:
        if split not in street.splits:
            raise ConfigError(f"split {split!r} is none of the embedded world, which has: {', '.join(street.splits)}")
        street = only_split(street, split)
    return placed(settings.cache.model_copy(update={"splits": (split,)}), street, folder)


def _there(location: str, split: str) -> CachedRigs:
    """A cache that has the split. Raises CacheMissingError or CacheIncompleteError."""
    Cache(location).split(split)
    return CachedRigs(f"cache {location}", location)
