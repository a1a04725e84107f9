"""A cache in an object store, through obstore: S3 and what speaks its protocol, Google Cloud, Azure, memory.

A put is atomic, and durable when it returns: that is the store's own promise, there is nothing to flush.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import obstore
from obstore.exceptions import GenericError, NotSupportedError

from cache_schema.errors import CacheLockedError
from cache_schema.layout import WORKER_LOCKS
from cache_schema.storage.holder import holder
from cache_schema.storage.lease import Lease, find_lease
from cache_schema.storage.object_store import FIRST_ANSWER, PATIENT, open_store, request

CONNECTIONS = 16
"""Objects read or written at a time: a request takes long, but many may be under way."""


class ObjectStorage:
    """See `Storage`. Credentials and endpoint come from the environment, as docs/cache.md says."""

    def __init__(self, url: str, *, answered: bool = False) -> None:
        scheme, _, rest = url.partition("://")
        self.location = f"{scheme}://{rest.rstrip('/')}"
        self.shared = scheme != "memory"
        self._brisk = open_store(self.location, FIRST_ANSWER)
        self._patient = open_store(self.location, PATIENT)
        self._answered = answered
        self._writing = False

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.location, "answered": self._answered}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ObjectStorage.__init__(self, state["url"], answered=state["answered"])

    def path(self, key: str) -> str:
        """The URL of an object."""
        return f"{self.location}/{key}"

    def read(self, key: str) -> bytes:
        """A whole object. Raises FileNotFoundError."""
        with self._request(key) as store:
            return obstore.get(store, key).bytes().to_bytes()

    def read_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Several objects, in order. Raises FileNotFoundError."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            yield from pool.map(self.read, keys)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Part of an object, shorter where the object ends. Raises FileNotFoundError."""
        with self._request(key) as store:
            try:
                return obstore.get_range(store, key, start=start, length=length).to_bytes()
            except (GenericError, ValueError):  # a range that holds nothing is an error for a store
                size = obstore.head(store, key)["size"]
                if length and start < size:
                    raise
                return b""

    def read_ranges(self, key: str, extents: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several parts of an object, each (start, length) and within it, in as few requests as are sensible."""
        starts, lengths = [start for start, _ in extents], [length for _, length in extents]
        with self._request(key) as store:
            return [part.to_bytes() for part in obstore.get_ranges(store, key, starts=starts, lengths=lengths)]

    def read_end(self, key: str, length: int) -> bytes:
        """The last bytes of an object. Raises FileNotFoundError."""
        with self._request(key) as store:
            try:
                return obstore.get(store, key, options={"range": {"suffix": length}}).bytes().to_bytes()
            except (GenericError, NotSupportedError):  # an empty object has no end; Azure must be told the start
                size = obstore.head(store, key)["size"]
        return self.read_range(key, max(size - length, 0), length)

    def keys(self, folder: str) -> list[str]:
        """All keys below a folder, in order."""
        return sorted(self._listed(folder))

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            with self._request(key) as store:
                obstore.get(store, key)  # not `head`, whose answer does not tell a lost bucket from a lost object
        except FileNotFoundError:
            return False
        return True

    def sizes(self, folder: str, keys: Iterable[str]) -> dict[str, int]:
        """Size in bytes of those of the keys, all below `folder`, that exist: one listing, not a request for each."""
        listed = self._listed(folder)
        return {key: listed[key] for key in keys if key in listed}

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Put objects, each atomically."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self._put, objects, objects.values()))

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        try:
            with self._request(key) as store:
                obstore.delete(store, key)
        except FileNotFoundError:  # S3 says nothing, Google Cloud and Azure do
            return

    def sweep(self) -> None:
        """Remove what a writer left that died while it looked at the clock; an interrupted put leaves nothing."""
        for key in self.keys(WORKER_LOCKS):
            self.delete(key)

    @contextmanager
    def only_writer(self, run: str) -> Iterator[None]:
        """Hold the prefix for writing. Raises CacheLockedError naming the host and process that holds it."""
        self._writing = True
        lease = Lease(self._brisk, self.location, run)
        lease.take()
        with lease.kept():
            yield

    @contextmanager
    def part_of(self, run: str) -> Iterator[None]:
        """Write in the name of a run; raises CacheLockedError where that run no longer holds the prefix."""
        self._writing = True
        found = find_lease(self._patient, self.location)
        if found is None or not found.of(run):
            now = "" if found is None else f"; {holder(found.record)} has it now"
            raise CacheLockedError(f"{self.location} is no longer written by the run of this worker{now}")
        yield

    def _put(self, key: str, data: bytes) -> None:
        with self._request(key) as store:
            obstore.put(store, key, data, use_multipart=False)

    def _listed(self, folder: str) -> dict[str, int]:
        with self._request(folder) as store:
            batches = obstore.list(store, prefix=folder)
            return {entry["path"]: entry["size"] for batch in batches for entry in batch}

    @contextmanager
    def _request(self, key: str) -> Iterator[Any]:
        """The store, for a request: brief until it has answered once."""
        with request(self.path(key), writing=self._writing):
            yield self._patient if self._answered else self._brisk
        self._answered = True
