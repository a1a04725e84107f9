"""Where a repair takes again what is damaged, and the settings that stage 1 had, from the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cache_schema import Manifest, ego_masks_digest
from cache_schema.errors import ConfigError, DatasetError
from cache_schema.manifest import differing_fields
from cache_schema.mender import CacheMender
from stages.cache_teacher.chosen_teacher import identify, require_same
from stages.cache_teacher.config import CacheTeacherConfig, NuscenesSettings, TeacherSettings
from stages.cache_teacher.datasets.ego_masks import load_ego_masks
from stages.cache_teacher.datasets.open import DATASETS, open_dataset
from stages.device import choose_device


@dataclass(frozen=True)
class Sources:
    """Where to take again what is damaged; what is not needed may be left out."""

    root: Path | None = None
    """Folder of the raw data."""
    teachers: Mapping[str, str] = field(default_factory=dict)
    """Hub id or folder by the teacher's name in the cache; the manifest's id if not given."""
    ego_masks: Path | None = None
    tokens: Path | None = None
    """Text file of the sample tokens that the cache was made of."""
    device: str = "auto"
    workers: int | None = None
    scheduler: str | None = None


def require_usable(manifest: Manifest, sources: Sources) -> None:
    """Look at the sources that are given, in seconds: reading the whole cache, which says what is needed, takes hours.

    Raises ConfigError, DatasetError or TeacherError where one cannot be read, or is not that of the cache.
    """
    if sources.device != "auto":
        choose_device(sources.device)
    if sources.root is not None:
        _require_dataset(manifest, sources)
        _require_masks_given(manifest, sources, manifest.splits)
    if sources.ego_masks is not None:
        _require_masks(manifest, sources)
    for name in sources.teachers:
        _require_teacher(manifest, name, sources)


def masks_of(manifest: Manifest, sources: Sources) -> np.ndarray:
    """The ego masks (mask, height, width) uint8 of the cache. Raises ConfigError where their folder is not given."""
    if sources.ego_masks is None:
        raise ConfigError("the ego masks of the cache must be written again; pass their folder with --ego-masks")
    size_hw = manifest.image.height, manifest.image.width
    return load_ego_masks(sources.ego_masks, manifest.dataset.cameras, size_hw).masks


def stage_1_settings(mender: CacheMender, split: str, teacher: str | None, sources: Sources) -> CacheTeacherConfig:
    """The settings that a split, or a teacher's targets for it, were made with.

    Raises ConfigError where a source is missing.
    """
    manifest = mender.manifest
    record = manifest.splits[split]
    if sources.root is None:
        raise ConfigError(f"shards of split {split} must be done again; pass the raw data's folder with --root")
    _require_masks_given(manifest, sources, [split])
    return CacheTeacherConfig.model_validate(
        {
            **_dataset_settings(manifest, sources, split),
            "cache": mender.storage.location,
            "splits": (split,),
            "image": manifest.image,
            "ego_masks": sources.ego_masks if record.ego_masks else None,
            "skip": record.selection.get("skipped", ()),
            "limit": record.rigs,
            "shard_rigs": record.shard_rigs,
            "lidar_points": record.lidar_points,
            "lidar": record.lidar,
            "dense_depth": record.dense_depth,
            "device": sources.device,
            "workers": sources.workers,
            "scheduler": sources.scheduler,
            **_teacher_and_targets(manifest, teacher, sources),
        }
    )


def _require_dataset(manifest: Manifest, sources: Sources) -> None:
    settings = {**_dataset_settings(manifest, sources), "teacher": TeacherSettings(id="none-is-asked")}
    dataset = open_dataset(CacheTeacherConfig.model_validate(settings))
    there = {name: getattr(dataset, name) for name in ("version", "cameras", "adjacent_pairs")}
    differences = differing_fields(manifest.dataset, manifest.dataset.model_copy(update=there))
    differences += [f"there is no split {split}" for split in manifest.splits if split not in dataset.splits]
    if differences:
        raise DatasetError(f"{sources.root} is not the dataset of the cache: {'; '.join(differences)}")


def _dataset_settings(manifest: Manifest, sources: Sources, split: str | None = None) -> dict[str, object]:
    """Which raw data, and what of it the split, or any, is made of.

    Raises ConfigError where stage 1 cannot read it, or a list is not given.
    """
    name = manifest.dataset.name
    if name not in DATASETS:
        raise ConfigError(
            f"the raw data of the cache is {name!r}, expected one of {', '.join(DATASETS)}, which stage 1 reads; "
            "without --root, a repair mends what needs no raw data"
        )
    settings: dict[str, object] = {"dataset": name, "root": sources.root}
    if name == "nuscenes":
        settings["nuscenes"] = _nuscenes_settings(manifest, sources, split)
    return settings


def _nuscenes_settings(manifest: Manifest, sources: Sources, split: str | None) -> NuscenesSettings:
    records = manifest.splits.values() if split is None else [manifest.splits[split]]
    chosen = {key: value for record in records for key, value in record.selection.items()}
    frames = () if split is None else ("frames", "spread_s")  # splits of one cache may differ
    if "tokens_sha256" in chosen and sources.tokens is None:
        raise ConfigError("the cache was made of listed samples; pass the list with --tokens")
    return NuscenesSettings.model_validate(
        {
            "version": manifest.dataset.version,
            **{key: chosen[key] for key in (*frames, "static_below_m") if key in chosen},
            "tokens": sources.tokens if "tokens_sha256" in chosen else None,
            "sweeps": max(record.lidar_sweeps for record in records),
        }
    )


def _require_masks_given(manifest: Manifest, sources: Sources, splits: Iterable[str]) -> None:
    masked = [split for split in splits if manifest.splits[split].ego_masks]
    if masked and sources.ego_masks is None:
        raise ConfigError(f"split {masked[0]} was made with ego masks; pass their folder with --ego-masks")


def _require_masks(manifest: Manifest, sources: Sources) -> None:
    found = ego_masks_digest(masks_of(manifest, sources))
    stored = {record.ego_masks_sha256 for record in manifest.splits.values() if record.ego_masks}
    if stored and found not in stored:
        raise DatasetError(f"the ego masks in {sources.ego_masks} are not those of the cache")


def _require_teacher(manifest: Manifest, name: str, sources: Sources) -> None:
    if name not in manifest.teachers:
        known = ", ".join(manifest.teachers) or "none"
        raise ConfigError(f"the cache has no teacher {name!r} for --teacher {name}=…; it has: {known}")
    if sources.root is None:
        raise ConfigError(f"teacher {name} must see the raw data again; pass its folder with --root")
    settings = _teacher_settings(manifest, name, sources)
    require_same(settings, identify(settings), manifest.teachers[name].identity)


def _teacher_and_targets(manifest: Manifest, name: str | None, sources: Sources) -> dict[str, object]:
    if name is None:
        return {"teacher": TeacherSettings(id="none-is-asked")}
    targets = manifest.teachers[name].targets
    stored = targets.model_dump(exclude={"height", "width", "feature_channels", "test_time_views"})
    derived = {"grid_divisor": manifest.image.height // targets.height, "features": targets.feature_channels > 0}
    return {"teacher": _teacher_settings(manifest, name, sources), "targets": stored | derived}


def _teacher_settings(manifest: Manifest, name: str, sources: Sources) -> TeacherSettings:
    identity, given = manifest.teachers[name].identity, sources.teachers.get(name)
    if identity.revision is None and given is None:
        raise ConfigError(
            f"targets of teacher {name} must be made again; pass its folder with --teacher {name}=DIR "
            f"(it was called {identity.id})"
        )
    return TeacherSettings(
        id=given or identity.id,
        name=name,
        revision=None if given else identity.revision,
        kind=identity.kind,
        flip=identity.flip,
        scales=identity.scales,
        precision=identity.precision,
    )
