"""Whether a dataset uses one drive twice, under whatever names: it would be both trained on and scored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cache_schema.errors import DatasetError


def refuse_one_drive_twice(listed: Iterable[tuple[str, str, Path]], named_in: Path) -> None:
    """Raise DatasetError where two scenes are one file or folder, each given as split, name and path.

    Other spellings of a name (./monday, monday/), links, and upper and lower case where the file system takes them for
    the same, lead to one place on the disk. What is not there is told apart by name.
    """
    seen: dict[object, tuple[str, str]] = {}
    for split, name, path in listed:
        for same in _identities(path):
            if same in seen:
                other_split, other = seen[same]
                twice = f"the scene {name} twice" if name == other else f"{other} and {name}, which are one scene"
                where = f"{other_split} and {split}" if split != other_split else split
                raise DatasetError(f"{named_in}: splits name {twice} ({where}); expected each scene once, in one split")
        seen.update(dict.fromkeys(_identities(path), (split, name)))


def _identities(path: Path) -> Iterator[object]:
    yield os.path.normpath(path)
    try:
        found = path.stat()
    except OSError:
        return
    yield os.path.realpath(path)
    if found.st_ino:  # some network file systems have no such numbers
        yield found.st_dev, found.st_ino
