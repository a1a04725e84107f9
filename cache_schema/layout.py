"""Where things lie inside a cache folder.

zarr.json                              root group; the manifest is its attribute `fsmde`
<split>/frames/<array>/…               frames, LiDAR, calibration
<split>/teachers/<name>/<array>/…      soft targets of one teacher
.fsmde/lock, .fsmde/owner.json         who writes
.fsmde/journal/<split>/frames/…        one record per finished shard
.fsmde/journal/<split>/teachers/<name>/…
"""

from __future__ import annotations

from pathlib import Path

MANIFEST_KEY = "fsmde"
STATE_FOLDER = ".fsmde"


def frames_group(split: str) -> str:
    """Path of a split's frames inside the cache."""
    return f"{split}/frames"


def teacher_group(split: str, teacher: str) -> str:
    """Path of a teacher's targets for a split inside the cache."""
    return f"{split}/teachers/{teacher}"


def journal_folder(cache: Path, group: str) -> Path:
    """Folder of the journal records of one group."""
    return cache / STATE_FOLDER / "journal" / group


def lock_file(cache: Path) -> Path:
    """File whose lock the one writing process holds."""
    return cache / STATE_FOLDER / "lock"


def owner_file(cache: Path) -> Path:
    """File that says who holds the lock."""
    return cache / STATE_FOLDER / "owner.json"
