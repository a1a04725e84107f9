"""What a cache asks of the place it lies in: whole objects by key, written once, and one writer at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from cache_schema.manifest import Record


class Owner(Record):
    """Who writes to a cache. `run` is new for every run, so that a straggler of an earlier one is told apart."""

    host: str
    process: int
    run: str


@runtime_checkable
class Storage(Protocol):
    """A folder, or a prefix in an object store. Keys are relative, with slashes. Cheap to pickle.

    A write is atomic: whoever reads, at any time and after any crash, finds the old object, the new one or none.
    """

    location: str
    """The folder or URL, as messages and commands show it."""
    shared: bool
    """Whether other processes see it too."""

    def path(self, key: str) -> str:
        """How a message names an object."""
        ...

    def read(self, key: str) -> bytes:
        """A whole object. Raises FileNotFoundError."""
        ...

    def read_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Several objects, in order. Raises FileNotFoundError."""
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Part of an object, shorter where the object ends. Raises FileNotFoundError."""
        ...

    def read_ranges(self, key: str, extents: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several parts of an object, each (start, length) and within it. Raises FileNotFoundError."""
        ...

    def read_end(self, key: str, length: int) -> bytes:
        """The last bytes of an object. Raises FileNotFoundError."""
        ...

    def keys(self, folder: str) -> list[str]:
        """All keys below a folder, in order."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        ...

    def sizes(self, folder: str, keys: Iterable[str]) -> dict[str, int]:
        """Size in bytes of those of the keys, all below `folder`, that exist."""
        ...

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Write objects, each atomically; on return all are durable. Raises CacheError where one cannot be."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        ...

    def sweep(self) -> None:
        """Remove what interrupted writes left behind."""
        ...

    def only_writer(self, run: str) -> AbstractContextManager[None]:
        """Hold the cache for writing. Raises CacheLockedError naming the host and process that holds it."""
        ...

    def part_of(self, run: str) -> AbstractContextManager[None]:
        """Write in the name of a run; raises CacheLockedError where that run no longer holds the cache."""
        ...
