"""One writer at a time in an object store, which cannot notice that a writer died.

The writer holds a lease: an object that only one can create, and that is put again and again while the writer works.
A lease that was not renewed for `LEASE_S` may be taken over. Both times are the store's own, so that the clocks of
the writers do not matter; and every put names the version it replaces, so that of several only one succeeds.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, NotSupportedError, PreconditionError

from cache_schema.errors import CacheError, CacheLockedError
from cache_schema.layout import OWNER_FILE, WORKER_LOCKS
from cache_schema.storage.base import Owner
from cache_schema.storage.holder import holder
from cache_schema.storage.object_store import reason, request

LEASE_S = 120.0
RENEWAL_S = 30.0
"""A renewal may fail three times in a row."""

Version = dict[str, str]
"""What tells one version of an object from the next, for a put that replaces just that one."""


class LeaseRecord(Owner):
    """What the lease says. The count makes every version differ, since the ETag of S3 is a hash of the contents."""

    renewals: int = 0


@dataclass(frozen=True)
class FoundLease:
    """The lease as it is in the store; no record where it cannot be understood."""

    record: LeaseRecord | None
    version: Version
    modified: datetime

    def of(self, run: str) -> bool:
        """Whether it is the lease of a run."""
        return self.record is not None and self.record.run == run


class Lease:
    """The hold of one run on the cache at `location`, in `store`."""

    def __init__(self, store: Any, location: str, run: str) -> None:
        self._store = store
        self._location = location
        self._record = LeaseRecord(host=socket.gethostname(), process=os.getpid(), run=run)
        self._version: Version = {}

    def take(self) -> None:
        """Raises CacheLockedError where another run holds it, CacheError where the store cannot give such a hold."""
        try:
            self._version = self._create()
        except AlreadyExistsError as refused:
            self._take_over(refused)
        try:
            self._prove()
        except PreconditionError as error:
            raise self._taken() from error
        except CacheError:
            self._remove()
            raise

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew it in the background, and give it back at the end."""
        done = threading.Event()
        renewal = threading.Thread(target=self._keep, args=(done,), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            done.set()
            renewal.join()
            self._give_back()

    def renew(self) -> None:
        """Put it again. Raises PreconditionError where it is another's by now, or nobody's."""
        record = self._record.model_copy(update={"renewals": self._record.renewals + 1})
        try:
            version = self._put(record, self._version)
        except PreconditionError:
            found = find_lease(self._store, self._location)
            if found is None or not found.of(self._record.run):
                raise
            version = found.version  # our own put was repeated, since its answer was lost
        self._record, self._version = record, version

    def _create(self) -> Version:
        try:
            return self._put(self._record, "create")
        except CacheError as error:
            if not isinstance(error.__cause__, GenericError | NotSupportedError):
                raise
            find_lease(self._store, self._location)  # raises where the store does not answer at all
            raise self._no_guarantee(reason(error.__cause__)) from error

    def _take_over(self, refused: AlreadyExistsError) -> None:
        """Take the lease of a writer that stopped renewing it."""
        found = find_lease(self._store, self._location)
        if found is None:
            raise CacheLockedError(
                f"{self._location} was given back by another process just now; run the same command again"
            ) from refused
        if found.of(self._record.run):
            self._version = found.version
            return
        age_s = self._age_s(found)
        if age_s < LEASE_S:
            raise CacheLockedError(
                f"{self._location} is being written by {holder(found.record)}; wait for it to finish, or use another "
                f"--cache. If that process is dead, its hold ends in {LEASE_S - age_s:.0f} s"
            ) from refused
        try:
            self._version = self._put(self._record, found.version)
        except PreconditionError as error:
            raise self._taken() from error

    def _taken(self) -> CacheLockedError:
        return CacheLockedError(f"{self._location} was taken by another process just now; use another --cache")

    def _age_s(self, found: FoundLease) -> float:
        """Time since the last renewal by the store's clock, which dates an object that is put now."""
        probe = f"{WORKER_LOCKS}/{uuid.uuid4().hex}"
        with request(f"{self._location}/{probe}", writing=True):
            obstore.put(self._store, probe, b"", use_multipart=False)
            try:
                now: datetime = obstore.head(self._store, probe)["last_modified"]
            except FileNotFoundError:  # swept by a writer that has just begun
                return 0.0
            obstore.delete(self._store, probe)
        return (now - found.modified).total_seconds()

    def _prove(self) -> None:
        """Refuse a store that heeds no conditions: a second writer would not be noticed."""
        with suppress(AlreadyExistsError):
            self._create()
            raise self._no_guarantee("it created an object that was there already")
        first = self._version
        self.renew()
        with suppress(PreconditionError):
            self._put(self._record, first)
            raise self._no_guarantee("it replaced another version of an object than the one named")

    def _no_guarantee(self, why: str) -> CacheError:
        return CacheError(
            f"{self._location}: this store cannot guarantee that only one process writes to a cache, since it knows no "
            f"conditional writes, If-None-Match and If-Match ({why}); write the cache to a folder and copy it there"
        )

    def _keep(self, done: threading.Event) -> None:
        while not done.wait(RENEWAL_S):
            try:
                self.renew()
            except (PreconditionError, FileNotFoundError):
                return  # lost; the next write notices
            except CacheError:
                continue  # the network

    def _give_back(self) -> None:
        """Remove it where it is still ours: it was renewed just now, so that nobody may take it in between."""
        with suppress(PreconditionError, FileNotFoundError, CacheError):  # out of reach: then it ends by itself
            self.renew()
            self._remove()

    def _remove(self) -> None:
        with suppress(FileNotFoundError, CacheError), request(f"{self._location}/{OWNER_FILE}", writing=True):
            obstore.delete(self._store, OWNER_FILE)

    def _put(self, record: LeaseRecord, mode: Version | Literal["create"]) -> Version:
        condition: Any = mode
        with request(f"{self._location}/{OWNER_FILE}", writing=True):
            return _version(obstore.put(self._store, OWNER_FILE, record.model_dump_json().encode(), mode=condition))


def find_lease(store: Any, location: str) -> FoundLease | None:
    """The lease on the cache at `location`, if anyone holds it."""
    try:
        with request(f"{location}/{OWNER_FILE}", writing=True):
            result = obstore.get(store, OWNER_FILE)
            content, meta = result.bytes().to_bytes(), result.meta
    except FileNotFoundError:
        return None
    try:
        record = LeaseRecord.model_validate_json(content)
    except ValueError:
        record = None
    return FoundLease(record, _version(meta), meta["last_modified"])


def _version(meta: Any) -> Version:
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key) is not None}
