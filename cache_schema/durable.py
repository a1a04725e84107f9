"""Files that survive a crash: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

TEMPORARY_SUFFIX = ".partial"  # what zarr's own store uses, so that one sweep finds both


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


def write_atomic(path: Path, text: str) -> None:
    """Replace a file so that a reader, or a crash, sees the old text or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    aside.write_text(text, encoding="utf-8")
    sync_file(aside)
    aside.replace(path)
    sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: Path) -> int:
    """Remove what interrupted writes left below a folder; return how many files that were."""
    leftovers = list(folder.rglob(f"*{TEMPORARY_SUFFIX}"))
    for path in leftovers:
        path.unlink()
    return len(leftovers)
