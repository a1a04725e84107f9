"""The journal: one record per finished shard. "Done" comes from here, never from a file's existence.

A record is a small JSON file of its own, written after the shard's bytes are on the disk and were read back.
Writers of different shards therefore never touch the same file, and a record is either whole or absent.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from cache_schema.durable import write_atomic
from cache_schema.errors import CacheCorruptError
from cache_schema.manifest import Digest, Record


class ShardRecord(Record):
    """What is known about a finished shard: rigs [start, stop) and the files that hold them."""

    shard: int
    start: int
    stop: int
    config_sha256: Digest
    files: dict[str, Digest]
    """SHA-256 of every file of the shard, by its path below the group."""
    bytes: int


class Journal:
    """The records of one group of arrays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> dict[int, ShardRecord]:
        """All records by shard number. Raises CacheCorruptError on a record that cannot be understood."""
        if not self._folder.is_dir():
            return {}
        records = (self._parse(path) for path in sorted(self._folder.glob("*.json")))
        return {record.shard: record for record in records}

    def rigs_done(self) -> int:
        """Number of rigs in finished shards."""
        return sum(record.stop - record.start for record in self.read().values())

    def append(self, record: ShardRecord) -> None:
        """Add a record; on return it is on the disk."""
        write_atomic(self._folder / f"{record.shard:06d}.json", record.model_dump_json() + "\n")

    def _parse(self, path: Path) -> ShardRecord:
        try:
            return ShardRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise CacheCorruptError(
                f"journal record {path} is damaged ({reason}); delete it and run stage 1 again to redo its shard"
            ) from error
