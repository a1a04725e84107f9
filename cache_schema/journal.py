"""The journal: one record per finished shard. "Done" comes from here, never from a file's existence.

A record is a small JSON object of its own, written after the shard's bytes are durable and were read back.
Writers of different shards therefore never touch the same record, and a record is either whole or absent.
What a group holds beside its shards (the metadata of its arrays, ego masks) has one record too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from cache_schema.errors import CacheCorruptError
from cache_schema.layout import journal_folder
from cache_schema.manifest import Digest, Record
from cache_schema.storage import Storage

_GROUP_RECORD = "group.json"


class FileRecord(Record):
    """What a file is known by."""

    size: int
    sha256: Digest

    @staticmethod
    def of(data: bytes) -> FileRecord:
        """The record of a file with these contents."""
        return FileRecord(size=len(data), sha256=hashlib.sha256(data).hexdigest())


class GroupRecord(Record):
    """The files of a group that are in no shard, by their key in the cache."""

    config_sha256: Digest
    """What the group was made with. Computed once, when it is made: a later fsmde may know more settings."""
    files: dict[str, FileRecord]

    @property
    def size(self) -> int:
        """Bytes of all the files."""
        return sum(file.size for file in self.files.values())


class ShardRecord(GroupRecord):
    """What is known about a finished shard: rigs [start, stop) and the files that hold them."""

    shard: int
    start: int
    stop: int

    @property
    def rigs(self) -> int:
        """Number of rigs."""
        return self.stop - self.start


class Journal:
    """The records of one group of arrays."""

    def __init__(self, storage: Storage, group: str) -> None:
        self._storage = storage
        self._folder = journal_folder(group)

    def shards(self) -> dict[int, ShardRecord]:
        """All shards' records by number. Raises CacheCorruptError on a record that cannot be understood."""
        records = {}
        for record in self.entries().values():
            if isinstance(record, CacheCorruptError):
                raise record
            records[record.shard] = record
        return records

    def entries(self) -> dict[str, ShardRecord | CacheCorruptError]:
        """All shards' records by key, or for one that cannot be understood what is wrong with it."""
        keys = [key for key in self._storage.keys(self._folder) if not key.endswith(_GROUP_RECORD)]
        return {key: self._parse(key, data) for key, data in zip(keys, self._storage.read_all(keys), strict=True)}

    def rigs_done(self) -> int:
        """Number of rigs in finished shards; a record that cannot be understood counts for none."""
        return sum(entry.rigs for entry in self.entries().values() if isinstance(entry, ShardRecord))

    def append(self, record: ShardRecord) -> None:
        """Add a shard's record; on return it is durable."""
        self._storage.write({self.key(record.shard): _text(record)})

    def group(self) -> GroupRecord | None:
        """The record of what is in no shard; none where the group was not made yet. Raises CacheCorruptError."""
        key = self.group_key
        try:
            return GroupRecord.model_validate_json(self._storage.read(key))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise self._damaged(key, error) from error

    def set_group(self, files: Mapping[str, bytes], config_sha256: str) -> None:
        """Write the record of the files that are in no shard."""
        known = {key: FileRecord.of(data) for key, data in sorted(files.items())}
        record = GroupRecord(config_sha256=config_sha256, files=known)
        self._storage.write({self.group_key: _text(record)})

    @property
    def group_key(self) -> str:
        """Key of the record of what is in no shard."""
        return f"{self._folder}/{_GROUP_RECORD}"

    def key(self, shard: int) -> str:
        """Key of a shard's record."""
        return f"{self._folder}/{shard:06d}.json"

    def remove(self, keys: Iterable[str]) -> None:
        """Forget records, so that what they speak of is done again."""
        for key in keys:
            self._storage.delete(key)

    def _parse(self, key: str, data: bytes) -> ShardRecord | CacheCorruptError:
        try:
            record = ShardRecord.model_validate_json(data)
        except ValidationError as error:
            return self._damaged(key, error)
        if self.key(record.shard) != key:
            return CacheCorruptError(f"journal record {self._storage.path(key)} speaks of shard {record.shard}")
        return record

    def _damaged(self, key: str, error: ValidationError) -> CacheCorruptError:
        reason = error.errors()[0]["msg"]
        return CacheCorruptError(
            f"journal record {self._storage.path(key)} is damaged ({reason}); delete it and run stage 1 again to "
            f"redo what it speaks of, or: fsmde verify {self._storage.location} --repair"
        )


def _text(record: Record) -> bytes:
    return record.model_dump_json().encode() + b"\n"
