"""Files that survive a crash: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

TEMPORARY_SUFFIX = ".partial"


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file so that a reader, or a crash, sees the old content or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content.encode() if isinstance(content, str) else content)
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """As `write_atomic`, but the rename itself is durable only once the folder is flushed."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder, and have each new one entered durably in the one above it."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Flush a file's contents to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
