"""A cache in a folder: files are written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from cache_schema.durable import TEMPORARY_SUFFIX, make_folder, replace_file, sync_folder
from cache_schema.errors import CacheError, CacheLockedError
from cache_schema.layout import LOCK_FILE, OWNER_FILE, WORKER_LOCKS
from cache_schema.lock import locked
from cache_schema.storage.base import Owner
from cache_schema.storage.holder import holder

FLUSHING_THREADS = 8
"""A file system commits flushes that wait together at once."""
STRAGGLER_S = 60.0
"""How long a new run waits for a worker of a killed one to finish the shard it is writing."""


class LocalStorage:
    """See `Storage`. A rename is durable once its folder is flushed; the system frees the lock of a dead process."""

    shared = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)

    def path(self, key: str) -> str:
        """The file of an object."""
        return f"{self.location}/{key}"  # this and not a Path, which takes longer to make than to read

    def read(self, key: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        try:
            return (self.root / key).read_bytes()
        except (NotADirectoryError, IsADirectoryError) as error:
            raise FileNotFoundError(*error.args) from error

    def read_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """Several files, in order. Raises FileNotFoundError."""
        return (self.read(key) for key in keys)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Part of a file, shorter where it ends. Raises FileNotFoundError."""
        return self.read_ranges(key, [(start, length)])[0]

    def read_ranges(self, key: str, extents: Sequence[tuple[int, int]]) -> list[bytes]:
        """Several parts of a file, each (start, length). Raises FileNotFoundError."""
        descriptor = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return [os.pread(descriptor, length, start) for start, length in extents]
        finally:
            os.close(descriptor)

    def read_end(self, key: str, length: int) -> bytes:
        """The last bytes of a file. Raises FileNotFoundError."""
        size = os.stat(self.path(key)).st_size
        return self.read_range(key, max(size - length, 0), length)

    def keys(self, folder: str) -> list[str]:
        """All files below a folder, in order; one that is being written aside, or was when its writer died, is none."""
        found = (file for file in (self.root / folder).rglob("*") if file.suffix != TEMPORARY_SUFFIX)
        return sorted(str(file.relative_to(self.root)) for file in found if file.is_file())

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return (self.root / key).is_file()

    def sizes(self, folder: str, keys: Iterable[str]) -> dict[str, int]:
        """Size in bytes of those of the files that exist."""
        found = {}
        for key in keys:
            try:
                found[key] = os.stat(self.path(key)).st_size
            except (FileNotFoundError, NotADirectoryError):
                continue
        return found

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Write files, each atomically; on return files and folders are on the disk."""
        with ThreadPoolExecutor(FLUSHING_THREADS) as pool:
            list(pool.map(self._write_file, objects, objects.values()))
            list(pool.map(_flush_folder, {(self.root / key).parent for key in objects}))

    def delete(self, key: str) -> None:
        """Remove a file, if there is one."""
        (self.root / key).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove files that were being written aside when their process died."""
        for path in self.root.rglob(f"*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)

    @contextmanager
    def only_writer(self, run: str) -> Iterator[None]:
        """Hold the folder for writing. Raises CacheLockedError naming the host and process that holds it."""
        with ExitStack() as held:
            try:
                held.enter_context(_locked(self.root / LOCK_FILE, timeout_s=0.0))
            except Timeout as error:
                raise CacheLockedError(
                    f"{self.location} is being written by {holder(self._owner())}; wait for it to finish, "
                    "or use another --cache folder"
                ) from error
            held.callback(self._leave)
            self._write_file(OWNER_FILE, _owner(run).model_dump_json().encode())
            self._wait_for_stragglers()
            yield

    @contextmanager
    def part_of(self, run: str) -> Iterator[None]:
        """Write in the name of a run; raises CacheLockedError where that run no longer holds the folder.

        The worker's own lock is taken first and the owner is read then, while a new run writes the owner first
        and waits for the workers' locks then: so no worker of an earlier run writes beside a new one.
        """
        own = self.root / WORKER_LOCKS / f"{uuid.uuid4().hex}.lock"
        with _locked(own, timeout_s=-1.0):
            try:
                owner = self._owner()
                if owner is None or owner.run != run:
                    raise CacheLockedError(f"{self.location} is no longer written by the run of this worker")
                yield
            finally:
                own.unlink(missing_ok=True)

    def _wait_for_stragglers(self) -> None:
        for path in self._worker_locks():
            try:
                _remove_lock(path, STRAGGLER_S)
            except Timeout as error:
                raise CacheLockedError(
                    f"{self.location}: a worker of an interrupted run still writes its shard ({path} is locked); "
                    "end it, or run the same command again when it has finished"
                ) from error

    def _leave(self) -> None:
        """Give the folder back, without what workers left that died: nothing more can be done where that fails."""
        with suppress(OSError):
            self.delete(OWNER_FILE)
        with suppress(OSError):  # a worker that still writes keeps its files; the next run clears up
            dead = self._worker_locks()
            for path in dead:
                _remove_lock(path, 0.0)
            if dead:
                self.sweep()

    def _worker_locks(self) -> list[Path]:
        return list((self.root / WORKER_LOCKS).glob("*.lock"))

    def _owner(self) -> Owner | None:
        try:
            return Owner.model_validate_json(self.read(OWNER_FILE))
        except (OSError, ValueError):
            return None

    def _write_file(self, key: str, data: bytes) -> None:
        path = self.root / key
        with _named(path):
            make_folder(path.parent)
            replace_file(path, data)


def _owner(run: str) -> Owner:
    return Owner(host=socket.gethostname(), process=os.getpid(), run=run)


@contextmanager
def _locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a lock file, in a folder that is made where absent; -1: wait for it for ever. Raises Timeout."""
    with ExitStack() as held:
        with _named(path):
            make_folder(path.parent)
            held.enter_context(locked(path, timeout_s))
        yield


def _remove_lock(path: Path, timeout_s: float) -> None:
    """Remove the lock file of a worker, once it is free. Raises Timeout."""
    with locked(path, timeout_s):
        path.unlink(missing_ok=True)


def _flush_folder(path: Path) -> None:
    with _named(path):
        sync_folder(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:  # an OSError too, but it says that another holds the lock
        raise
    except OSError as error:
        raise CacheError(
            f"{path} cannot be written ({error.strerror or error}); what is finished is kept: make room or mend the "
            "permissions and run the same command again, or use another --cache folder"
        ) from error
