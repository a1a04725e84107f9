"""One writer per cache: a lock that the system releases when its holder dies."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cache_schema.durable import write_atomic
from cache_schema.errors import CacheLockedError
from cache_schema.layout import lock_file, owner_file
from cache_schema.manifest import Record


class Owner(Record):
    """The process that writes to a cache."""

    host: str
    process: int


@contextmanager
def only_writer(cache: Path) -> Iterator[None]:
    """Hold the cache for writing. Raises CacheLockedError naming the host and process that holds it."""
    lock_file(cache).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file(cache), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CacheLockedError(
            f"{cache} is being written by {_holder(cache)}; wait for it to finish, or use another --cache folder"
        ) from error
    try:
        write_atomic(owner_file(cache), Owner(host=socket.gethostname(), process=os.getpid()).model_dump_json())
        yield
    finally:
        owner_file(cache).unlink(missing_ok=True)
        lock.release()


def _holder(cache: Path) -> str:
    try:
        owner = Owner.model_validate_json(owner_file(cache).read_bytes())
    except (OSError, ValueError):
        return "another process"
    return f"process {owner.process} on host {owner.host}"
