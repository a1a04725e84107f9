"""Lock files: held by one process, and freed by the system when it dies."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock

from cache_schema.errors import LocksMissingError

# filelock then takes the existence of a file for a lock; that is refused below.
warnings.filterwarnings("ignore", "flock not supported")

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(path: Path, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file; -1: wait for it for ever.

    Raises filelock's Timeout where another process holds it, and LocksMissingError where the file system has no locks.
    """
    lock: FileLock = FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except NotImplementedError as error:
        raise _no_locks(path, str(error)) from error
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise _no_locks(path, error.strerror or str(error)) from error
        raise
    try:
        if isinstance(lock, SoftFileLock):  # such a file outlives its process, and the next run would wait for the dead
            raise _no_locks(path, "flock is not implemented")
        yield
    finally:
        lock.release()


def _no_locks(path: Path, reason: str) -> LocksMissingError:
    return LocksMissingError(
        f"{path.parent} is on a file system without locks ({reason}), as NFS can be: two runs could write there at "
        "once; use a folder on a local disk and copy it there afterwards, or mount that file system with locks"
    )
