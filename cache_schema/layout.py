"""Where things lie inside a cache; all keys are relative to its folder or URL.

zarr.json                              root group; the manifest is its attribute `fsmde`
<split>/frames/<array>/…               frames, LiDAR, calibration
<split>/teachers/<name>/<array>/…      soft targets of one teacher
.fsmde/manifest.json                   a copy of the manifest, to mend a damaged root from
.fsmde/lock, .fsmde/owner.json         who writes
.fsmde/workers/…                       locks of workers that are writing a shard just now
.fsmde/journal/<split>/frames/…        one record per finished shard, and one for what is not in shards
.fsmde/journal/<split>/teachers/<name>/…
"""

from __future__ import annotations

MANIFEST_KEY = "fsmde"
MANIFEST_DIGEST_KEY = "fsmde_sha256"
MANIFEST_COPY = ".fsmde/manifest.json"
ROOT = "zarr.json"
STATE_FOLDER = ".fsmde"
JOURNAL = f"{STATE_FOLDER}/journal"
LOCK_FILE = f"{STATE_FOLDER}/lock"
OWNER_FILE = f"{STATE_FOLDER}/owner.json"
WORKER_LOCKS = f"{STATE_FOLDER}/workers"


def frames_group(split: str) -> str:
    """Path of a split's frames inside the cache."""
    return f"{split}/frames"


def teacher_group(split: str, teacher: str) -> str:
    """Path of a teacher's targets for a split inside the cache."""
    return f"{split}/teachers/{teacher}"


def journal_folder(group: str) -> str:
    """Folder of the journal records of one group."""
    return f"{JOURNAL}/{group}"
