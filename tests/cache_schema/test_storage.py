"""What every storage gives, be it a folder, memory or an S3 server."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from cache_schema.errors import CacheError, CacheLockedError
from cache_schema.layout import OWNER_FILE
from cache_schema.storage import LocalStorage, Storage, open_storage
from tests.object_store import s3_server

KEY = "train/frames/bin_mean/c.1.0-2_x"
DATA = b"0123456789"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(params=["folder", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    name = uuid.uuid4().hex
    if request.param == "s3":
        return open_storage(f"{request.getfixturevalue('s3')}/some.where/{name}")
    return open_storage(tmp_path / "zarr" if request.param == "folder" else f"memory://{name}")


def test_objects_come_back(storage: Storage) -> None:
    objects = {f"group/{i}": bytes([i]) * i for i in range(40)}  # the first is empty
    storage.write(objects)
    assert list(storage.read_all(objects)) == list(objects.values())
    assert storage.read("group/0") == b""
    storage.write({"group/7": b"anew"})
    assert storage.read("group/7") == b"anew"
    assert storage.exists("group/7")
    assert "group/7" in storage.path("group/7")
    assert storage.path("group/7").startswith(storage.location)
    storage.delete("group/7")
    assert not storage.exists("group/7")


def test_what_is_absent(storage: Storage) -> None:
    storage.write({KEY: DATA})
    for key in ("nothing", "train/frames/bin_mean/c.1.0-2_", "train/frames/other/c.0"):
        for look in (
            lambda k: storage.read(k),
            lambda k: storage.read_range(k, 0, 4),
            lambda k: storage.read_range(k, 0, 0),
            lambda k: storage.read_end(k, 4),
            lambda k: list(storage.read_all([KEY, k])),
        ):
            with pytest.raises(FileNotFoundError):
                look(key)
        assert not storage.exists(key)
        assert storage.sizes("train", [key]) == {}
        storage.delete(key)
    assert storage.keys("nothing") == []


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 10, DATA), (2, 3, b"234"), (8, 30, b"89"), (10, 1, b""), (99, 5, b""), (3, 0, b""), (0, 99, DATA)],
)
def test_parts(storage: Storage, start: int, length: int, expected: bytes) -> None:
    storage.write({KEY: DATA, "empty": b""})
    assert storage.read_range(KEY, start, length) == expected
    assert storage.read_range("empty", start, length) == b""


@pytest.mark.parametrize(("length", "expected"), [(3, b"789"), (10, DATA), (30, DATA), (0, b"")])
def test_ends(storage: Storage, length: int, expected: bytes) -> None:
    storage.write({KEY: DATA, "empty": b""})
    assert storage.read_end(KEY, length) == expected
    assert storage.read_end("empty", length) == b""


def test_listing(storage: Storage) -> None:
    inside = {"a/b.c/z": b"1", "a/b.c/10": b"22", "a/b.c/9": b"", "a/b-c/x_y": b"4444", "a/b/c.0.0": b"55555"}
    storage.write({**inside, "a.b/z": b"beside", "ab/z": b"beside", "z": b"beside"})
    assert storage.keys("a") == sorted(inside)
    assert storage.keys("a/b") == ["a/b/c.0.0"], "a/b is a folder, not the beginning of a name"
    assert storage.keys("") == sorted([*inside, "a.b/z", "ab/z", "z"])
    assert storage.sizes("a", [*inside, "a/lost"]) == {key: len(data) for key, data in inside.items()}


def test_it_travels(storage: Storage) -> None:
    storage.write({KEY: DATA})
    again = pickle.loads(pickle.dumps(storage))
    assert again.location == storage.location
    assert again.shared == storage.shared
    assert again.read(KEY) == DATA
    assert len(pickle.dumps(storage)) < 1000


def test_one_writer(storage: Storage) -> None:
    name = f"process {os.getpid()} on host {socket.gethostname()}"
    with storage.only_writer("first"):
        with pytest.raises(CacheLockedError, match=name), open_storage(storage.location).only_writer("second"):
            pass
        with storage.part_of("first"):
            storage.write({KEY: DATA})
        with pytest.raises(CacheLockedError, match="no longer written by the run"), storage.part_of("second"):
            pass
        storage.sweep()
    assert not storage.exists(OWNER_FILE)
    with pytest.raises(CacheLockedError), storage.part_of("first"):
        pass
    with storage.only_writer("second"), storage.part_of("second"):
        assert storage.read(KEY) == DATA


def _change(storages: list[Storage]) -> list[bytes]:
    for storage in storages:
        storage.write({"from/afar": storage.read(KEY) + b"!"})
    return [storage.read("from/afar") for storage in storages]


def test_other_processes_share_it(s3: str, tmp_path: Path) -> None:
    storages = [open_storage(tmp_path / "zarr"), open_storage(f"{s3}/shared")]
    for storage in storages:
        storage.write({KEY: DATA})
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(_change, storages).result() == [DATA + b"!"] * 2
    assert [storage.read("from/afar") for storage in storages] == [DATA + b"!"] * 2


def test_a_forked_process_reads_or_is_told_why_not(storage: Storage) -> None:
    """obstore would hang in it, and then in its parent."""
    storage.write({KEY: DATA})
    answer = in_a_fork(lambda: storage.read(KEY))
    if isinstance(storage, LocalStorage):
        assert answer == DATA.decode()
    else:
        assert answer.startswith(f"CacheError: {storage.path(KEY)} cannot be used in a process forked from one")
        assert "spawn" in answer
    assert storage.read(KEY) == DATA


def in_a_fork(work: Callable[[], bytes]) -> str:
    """What some work gives or raises in a forked process, which is killed where it hangs."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads; that is what is tested
        child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}".encode()
        os.write(writer, answer)
        os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.01)
    with os.fdopen(reader, "rb") as answers:
        return answers.read().decode()


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "s3:///x", "az://container/x"])
def test_urls_that_name_no_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(CacheError, match=r"cannot be used as a cache .*expected a folder, or a URL such as s3://"):
        open_storage(url)


def test_a_url_that_became_a_path_is_not_a_folder() -> None:
    with pytest.raises(CacheError, match="give it as text: s3://bucket/zarr"):
        open_storage(Path("s3://bucket/zarr"))


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    assert open_storage((tmp_path / "a b").as_uri()).location == str(tmp_path / "a b")


def test_without_obstore_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("remote", "lease", "object_store"):
        monkeypatch.delitem(sys.modules, f"cache_schema.storage.{module}", raising=False)
    with pytest.raises(CacheError, match=r"pip install -e '.\[remote\]'"):
        open_storage("s3://bucket/zarr")
