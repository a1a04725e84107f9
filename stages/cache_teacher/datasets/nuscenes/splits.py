"""Which scenes are in which split: by the dataset's own splits.json, where there is one, else officially."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.nuscenes.devkit import create_splits_scenes
from stages.cache_teacher.datasets.raw_files import read_json

EVALUATION_SPLITS = ("val", "test")
"""Splits that are scored on: one sweep a keyframe, and no keyframe left out because the car stands."""

SHOWN = 3
"""Unknown names that an error shows."""

_OFFICIAL = {"mini": {"train": "mini_train", "val": "mini_val"}, "trainval": {"train": "train", "val": "val"}}
_OFFICIAL["test"] = {"test": "test"}
_OWN_SPLITS = "splits.json"
_EXPECTED = '{"train": ["<scene>", …], "val": ["<scene>", …]}'
_SPLITS = TypeAdapter(dict[str, list[str]])


def scenes_by_split(folder: Path, scenes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Of each split the scenes that are there, in the order of the table; of some splits perhaps none.

    Raises DatasetError where no split has a scene, or splits.json is damaged, names a scene that is not there, or one
    twice.
    """
    own = _own_splits(folder / _OWN_SPLITS, scenes)
    named = _official_splits(folder.name) if own is None else own
    splits = {name: tuple(scene for scene in scenes if scene in listed) for name, listed in named.items()}
    if not any(splits.values()):
        raise DatasetError(
            f"{folder}: none of its {len(scenes)} scenes is in an official split of this version, nor in one of your "
            f"own; name those in {folder / _OWN_SPLITS}, {_EXPECTED}"
        )
    return splits


def some(names: Collection[str]) -> str:
    """The first few of the names, for a message."""
    return ", ".join([*names][:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _official_splits(version: str) -> Mapping[str, Collection[str]]:
    every = create_splits_scenes()
    official = _OFFICIAL.get(version.rsplit("-", 1)[-1], {})
    return {name: every[devkit_name] for name, devkit_name in official.items()}


def _own_splits(path: Path, scenes: Sequence[str]) -> Mapping[str, Collection[str]] | None:
    if not path.exists():
        return None
    try:
        splits = _SPLITS.validate_json(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        found = first["msg"] if first["type"] == "json_invalid" else f"{place} is {reprlib.repr(first['input'])}"
        raise _unusable(path, found) from error
    times = Counter(scene for listed in splits.values() for scene in listed)
    if unknown := [scene for scene in times if scene not in scenes]:
        raise _unusable(path, f"names {some(unknown)}, but the scenes of scene.json are {some(scenes)}")
    for scene, count in times.items():
        if count > 1:
            where = " and ".join(name for name, listed in splits.items() if scene in listed)
            raise _unusable(path, f"names {scene} {count} times, in {where}")
    return splits


def _unusable(path: Path, found: str) -> DatasetError:
    return DatasetError(f"{path}: {found}; expected {_EXPECTED}, each scene at most once; mend it")
