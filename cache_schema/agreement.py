"""Whether what is stored agrees with what is asked for: nothing is ever mixed in one cache."""

from __future__ import annotations

from cache_schema.errors import CacheMismatchError
from cache_schema.layout import STATE_FOLDER
from cache_schema.manifest import (
    DatasetIdentity,
    ImageSpec,
    Manifest,
    Record,
    SplitRecord,
    TeacherRecord,
    differing_fields,
    said,
)
from cache_schema.manifest_file import cache_exists, read_manifest
from cache_schema.places import refuse_foreign
from cache_schema.storage import LocalStorage, Storage

OTHER_CACHE = "use another --cache folder, or replace it with --overwrite"
_OF_THE_SAMPLES = ("rigs", "samples_sha256", "lidar_points", "text_bytes", "selection", "scene_conditions")
"""What of a split follows from its samples."""
OTHER_TEACHER = "use another --teacher-name, or replace it with --overwrite"


def stored_manifest(storage: Storage, dataset: DatasetIdentity, image: ImageSpec) -> Manifest | None:
    """The manifest of a cache, none where there is no cache yet.

    Raises CacheMismatchError where it holds another dataset, or images stored otherwise.
    """
    if not cache_exists(storage):
        return None
    stored = read_manifest(storage)
    asked = Manifest(code_version=stored.code_version, dataset=dataset, image=image)
    refuse_difference(storage.location, "cache", stored, asked, skip=("splits", "teachers"))
    return stored


def refuse_another_place(storage: Storage) -> None:
    """Raise where a new cache would lie among something else, whose files it might replace or erase.

    ConfigError for a folder, CacheMismatchError for a URL. A cache that had just begun is one already.
    """
    if cache_exists(storage) or storage.keys(STATE_FOLDER):
        return
    if isinstance(storage, LocalStorage):
        refuse_foreign(storage.root, "--cache", "cache", own=(STATE_FOLDER,))
    elif found := next(iter(storage.keys("")), None):
        raise CacheMismatchError(
            f"{storage.location} holds {found} and is no cache; nothing was changed: choose another --cache, such as"
            f" {storage.location}/zarr"
        )


def refuse_other_split(location: str, name: str, stored: SplitRecord, asked: SplitRecord, why: str = "") -> None:
    """Raise CacheMismatchError where a split differs in anything but what is complete; `why` it has other samples."""
    progress = ("frames_complete", "teachers_complete")
    if stored.samples_sha256 == asked.samples_sha256:
        refuse_difference(location, f"split {name}", stored, asked, skip=progress)
        return
    changes = [f"{stored.rigs} {'rig' if stored.rigs == 1 else 'rigs'} then, {asked.rigs} now{why}"]
    if stored.selection != asked.selection:
        changes.append(f"{_chosen(stored)} then, {_chosen(asked)} now")
    changes += differing_fields(stored, asked, skip=(*progress, *_OF_THE_SAMPLES))
    raise CacheMismatchError(
        f"{location} already holds a split {name} of other samples: {'; '.join(changes)}; ask for the same as then"
        f" (files, --skip, --skip-file, --limit), or {OTHER_CACHE}"
    )


def _chosen(split: SplitRecord) -> str:
    """What chose the samples of a split, in words."""
    lists = {key: value for key, value in split.selection.items() if isinstance(value, list)}
    parts = [f"{key} {', '.join(map(str, names[:3]))}{' …' * (len(names) > 3)}" for key, names in lists.items()]
    parts += [f"{key} {said(value)}" for key, value in split.selection.items() if key not in lists]
    return "; ".join(parts) or "none chosen or skipped"


def refuse_other_teacher(location: str, name: str, stored: TeacherRecord, asked: TeacherRecord) -> None:
    """Raise CacheMismatchError where a teacher, or how its targets are made, differs."""
    refuse_difference(location, f"teacher {name}", stored, asked, remedy=OTHER_TEACHER)


def refuse_difference(
    location: str, what: str, stored: Record, asked: Record, skip: tuple[str, ...] = (), remedy: str = OTHER_CACHE
) -> None:
    """Raise CacheMismatchError, naming every field that differs and both its values."""
    differences = differing_fields(stored, asked, skip)
    if differences:
        raise CacheMismatchError(
            f"{location} already holds a {what} that differs in {'; '.join(differences)}; {remedy}"
        )
