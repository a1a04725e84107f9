"""Locks on file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from filelock import Timeout

from cache_schema.errors import LocksMissingError
from cache_schema.lock import locked
from cache_schema.storage import LocalStorage
from stages.train.run_folder import only_trainer


def test_one_process_holds_it(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(Timeout), locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock"):
        pass


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    says = "is on a file system without locks .* use a folder on a local disk"
    with pytest.raises(LocksMissingError, match=says), locked(tmp_path / "lock"):
        pass
    with pytest.raises(LocksMissingError, match=says), LocalStorage(tmp_path / "zarr").only_writer("a run"):
        pass
    with pytest.raises(LocksMissingError, match=says), only_trainer(tmp_path / "run"):
        pass
