"""A cache in an object store, through obstore: S3 and what speaks its protocol, Google Cloud, Azure, memory.

A put is atomic, and durable when it returns: that is the store's own promise, there is nothing to flush. What a
store cannot do is notice that a writer died. So the writer holds a lease, an object that only one can create and
that is renewed while it works; the lease of a dead writer ends after `LEASE_S`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from cache_schema.errors import CacheError, CacheLockedError
from cache_schema.layout import OWNER_FILE
from cache_schema.storage.base import Owner

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
    from obstore.store import MemoryStore, from_url
except ModuleNotFoundError as error:
    raise CacheError(
        "a cache at a URL needs the package obstore; install it with: pip install 'fsmde[remote]'"
    ) from error

LEASE_S = 120.0
RENEWAL_S = 30.0
CONNECTIONS = 16
"""Objects read or written at a time: a request takes long, but many may be under way."""

_IN_MEMORY: dict[str, MemoryStore] = {}


class ObjectStorage:
    """See `Storage`. Credentials and endpoint come from the environment, as obstore documents (AWS_…, GOOGLE_…)."""

    def __init__(self, url: str) -> None:
        self.location = url.rstrip("/")
        self.shared = not url.startswith("memory://")
        self._store = self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.location}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ObjectStorage.__init__(self, state["url"])

    def path(self, key: str) -> str:
        """The URL of an object."""
        return f"{self.location}/{key}"

    def read(self, key: str) -> bytes:
        """A whole object. Raises FileNotFoundError."""
        with self._named(key):
            return obstore.get(self._store, key).bytes().to_bytes()

    def read_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Several objects, in order. Raises FileNotFoundError."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            yield from pool.map(self.read, keys)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Part of an object, shorter where the object ends. Raises FileNotFoundError."""
        with self._named(key):
            return obstore.get_range(self._store, key, start=start, length=length).to_bytes()

    def read_end(self, key: str, length: int) -> bytes:
        """The last bytes of an object. Raises FileNotFoundError."""
        with self._named(key):
            return obstore.get(self._store, key, options={"range": {"suffix": length}}).bytes().to_bytes()

    def keys(self, folder: str) -> list[str]:
        """All keys below a folder, in order."""
        return sorted(self._listed(folder))

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        with self._named(key):
            try:
                obstore.head(self._store, key)
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
        with self._named(key):
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def sweep(self) -> None:
        """Nothing: an interrupted put leaves no object."""

    @contextmanager
    def only_writer(self, run: str) -> Iterator[None]:
        """Hold the prefix for writing. Raises CacheLockedError naming the host and process that holds it."""
        owner = Owner(host=socket.gethostname(), process=os.getpid(), run=run)
        lease = self._take_lease(owner.model_dump_json().encode())
        done = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(lease, owner, done), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            done.set()
            renewal.join()
            owned = self._owner()
            if owned is not None and owned.run == run:
                self.delete(OWNER_FILE)

    @contextmanager
    def part_of(self, run: str) -> Iterator[None]:
        """Write in the name of a run; raises CacheLockedError where that run no longer holds the prefix."""
        owner = self._owner()
        if owner is None or owner.run != run:
            raise CacheLockedError(f"{self.location} is no longer written by the run of this worker")
        yield

    def _take_lease(self, content: bytes) -> dict[str, str]:
        with self._named(OWNER_FILE):
            try:
                return _version(obstore.put(self._store, OWNER_FILE, content, mode="create"))
            except AlreadyExistsError as error:
                return self._take_over(content, error)

    def _take_over(self, content: bytes, refused: Exception) -> dict[str, str]:
        """The lease of a writer that stopped renewing it; the store lets only one take it."""
        found = obstore.head(self._store, OWNER_FILE)
        age_s = (datetime.now(UTC) - found["last_modified"]).total_seconds()
        if age_s < LEASE_S:
            owner = self._owner()
            holder = "another process" if owner is None else f"process {owner.process} on host {owner.host}"
            raise CacheLockedError(
                f"{self.location} is being written by {holder}; wait for it to finish, or use another --cache. "
                f"If that process is dead, its hold ends in {LEASE_S - age_s:.0f} s"
            ) from refused
        try:
            return _version(obstore.put(self._store, OWNER_FILE, content, mode=_version(found)))  # type: ignore[arg-type]
        except PreconditionError as error:
            raise CacheLockedError(
                f"{self.location} was taken by another process just now; use another --cache"
            ) from error

    def _renew(self, lease: dict[str, str], owner: Owner, done: threading.Event) -> None:
        """Put the lease again while the run lasts; one that was lost is noticed by `part_of`."""
        while not done.wait(RENEWAL_S):
            try:
                content = owner.model_dump_json().encode()
                lease = _version(obstore.put(self._store, OWNER_FILE, content, mode=lease))  # type: ignore[arg-type]
            except PreconditionError:
                return
            except BaseError:
                continue  # the network; there is time for three more attempts

    def _owner(self) -> Owner | None:
        try:
            return Owner.model_validate_json(self.read(OWNER_FILE))
        except (FileNotFoundError, ValueError):
            return None

    def _put(self, key: str, data: bytes) -> None:
        with self._named(key):
            obstore.put(self._store, key, data, use_multipart=False)

    def _listed(self, folder: str) -> dict[str, int]:
        with self._named(folder):
            batches = obstore.list(self._store, prefix=folder)
            return {entry["path"]: entry["size"] for batch in batches for entry in batch}

    def _open(self) -> Any:
        if not self.shared:
            return _IN_MEMORY.setdefault(self.location, MemoryStore())
        try:
            return from_url(self.location)
        except (BaseError, ValueError) as error:
            raise CacheError(
                f"{self.location} cannot be used as a cache ({_reason(error)}); expected a folder, or a URL such as "
                "s3://bucket/prefix or gs://bucket/prefix"
            ) from error

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        try:
            yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except BaseError as error:
            raise CacheError(
                f"{self.path(key)} cannot be reached ({_reason(error)}); check the bucket, the credentials and the "
                "endpoint in the environment. What is finished is kept"
            ) from error


def _version(put: Any) -> dict[str, str]:
    """What tells one version of an object from the next, for a put that replaces just that one."""
    return {key: put[key] for key in ("e_tag", "version") if put.get(key) is not None}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
