"""Where results go. A place is looked at before any work, so that nothing of another kind is overwritten there."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cache_schema.durable import TEMPORARY_SUFFIX
from cache_schema.errors import ConfigError
from cache_schema.layout import ROOT, STATE_FOLDER

OF_NOBODY = (
    "lost+found", ".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".nfs*", ".snapshot", ".gitkeep", ".gitignore",
    "*.log", "*.out", "*.err", f"*{TEMPORARY_SUFFIX}",
)  # fmt: skip
"""What file systems, file managers and batch systems leave in a folder that holds nothing else."""

_MARKS = (
    ("the cache", (STATE_FOLDER,)),
    ("the cache", (ROOT,)),
    ("the training run", ("provenance.json", "config.json")),
)
"""What folders are, and by which of their contents that is known."""


MAKE_CACHE = "fsmde cache-teacher --dataset {} --root {} --teacher ID --cache {}"
"""The command that makes a cache, of a dataset at a root."""

_RAW = (("ddad", "ddad.json"), ("nuscenes", "v1.0-*/sample.json"), ("folder", "dataset.json"))
"""Datasets as `--dataset` names them, and by which file in their root that is known."""


def instead_of_cache(place: Path) -> str:
    """What lies where a cache was expected, and the command or place that mends it."""
    if place.is_file():
        return f"it is a file, not the folder of a cache; make one with: {MAKE_CACHE.format('ddad', 'DIR', 'zarr')}"
    for dataset, mark in _RAW:
        if next(place.glob(mark), None) is not None:
            made = MAKE_CACHE.format(dataset, place, f"{place.name or 'zarr'}-zarr")
            return f"it holds the raw data of a dataset; make a cache of it with: {made}"
    if (place / "provenance.json").is_file():
        return f"it is a training run, which goes to --run {place}; give the cache that it was trained on"
    if (around := cache_around(place)) is not None:
        return f"it lies inside a cache: give {around}"
    inner = [mark.parent for mark in sorted(place.glob(f"*/{ROOT}"))]
    if len(inner) == 1:
        return f"but there is one in it: {inner[0]}"
    return f"make one with: {MAKE_CACHE.format('ddad', 'DIR', place)}"


def cache_around(place: Path) -> Path | None:
    """The cache whose folder a place lies in, if any."""
    return next((outer for outer in place.absolute().parents if (outer / STATE_FOLDER).is_dir()), None)


def foreign(folder: Path, own: Collection[str] = ()) -> str | None:
    """Name of something in a folder that is neither one of the patterns `own` nor left by systems; None: nothing is."""
    if not folder.is_dir():
        return None
    known = (*OF_NOBODY, *own)
    names = sorted(entry.name for entry in folder.iterdir())
    return next((name for name in names if not any(fnmatch(name, pattern) for pattern in known)), None)


def refuse_foreign(folder: Path, option: str, kind: str, own: Collection[str] = ()) -> None:
    """Raise ConfigError where a folder for a new `kind` of result is a file, holds something, or lies in a result.

    `own` are the names that the beginning of such a result may have.
    """
    refuse_file(folder, option)
    if (found := foreign(folder, own)) is not None:
        raise ConfigError(
            f"{option} {folder} holds {found} and is no {kind}; nothing was changed: choose a new or an empty folder"
        )
    refuse_inside(folder, option, kind)


def refuse_file(folder: Path, option: str) -> None:
    """Raise ConfigError where a folder, or one above it, is a file."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists():
            raise ConfigError(f"{option} {folder}: {place} is a file; expected a folder, or a path that is free")


def refuse_inside(place: Path, option: str, kind: str, only: str = "") -> None:
    """Raise ConfigError where a new result would lie inside a cache or a run, or `only` in one.

    Beside raw data it may lie: people keep all that belongs together in one folder.
    """
    for folder in place.absolute().resolve().parents:
        for what, marks in _MARKS:
            if only in what and all(next(folder.glob(mark), None) is not None for mark in marks):
                raise ConfigError(
                    f"{option} {place}: the {kind} would lie inside {what} {folder}; choose another {option}"
                )


def require_writable(folder: Path, option: str) -> None:
    """Raise ConfigError where nothing can be written into a folder, or into the one that it will be made in.

    It is tried, by a file without a name: permissions say little of a disk that is full or mounted to be read only.
    """
    refuse_file(folder, option)
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"\0")
    except OSError as error:
        raise ConfigError(
            f"{option} {folder} cannot be written: {there}: {error.strerror or error}; mend that, or choose another"
            f" {option}"
        ) from error


def require_file(file: Path, option: str, endings: Collection[str] = ()) -> None:
    """Raise ConfigError where a file cannot be written there, or its name has none of the `endings`, as .png."""
    if endings and file.suffix.lower() not in endings:
        raise ConfigError(f"{option} {file}: expected a name that ends in {' or '.join(endings)}")
    if file.is_dir():
        raise ConfigError(f"{option} {file} is a folder; expected the name of a file")
    refuse_inside(file, option, "file", only="the cache")
    require_writable(file.parent, option)


def refuse_other_file(file: Path, option: str, kind: type[BaseModel], called: str) -> None:
    """Raise ConfigError where a file cannot be written, or replaced something else than JSON of the same kind."""
    require_file(file, option)
    if file.exists():
        try:
            kind.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise ConfigError(
                f"{option} {file} is there and is no {called}; nothing was changed: choose another {option}"
            ) from error
