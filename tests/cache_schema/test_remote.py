"""Caches in object stores: the writer's lease, and the same bytes and the same refusals as in a folder."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import zarr
from obstore.exceptions import GenericError, NotSupportedError
from obstore.store import from_url

from cache_schema import Cache, CacheWriter, ImageSpec, empty_frames
from cache_schema.errors import CacheCorruptError, CacheError, CacheLockedError, CacheMissingError
from cache_schema.layout import OWNER_FILE, WORKER_LOCKS
from cache_schema.storage import Storage, lease, open_storage, remote
from cache_schema.storage.remote import ObjectStorage
from cache_schema.verify import Verification, verify
from tests.object_store import answering, objects, s3_server
from tests.tiny_cache import dataset, ego_masks, split_record, write_tiny_cache

IMAGE = ImageSpec(height=64, width=96)
PUT = obstore.put
SPAWN = get_context("spawn")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr", splits=("train",))


@pytest.fixture(scope="module")
def sound(s3: str) -> str:
    return write_tiny_cache(f"{s3}/sound", splits=("train",))


@pytest.fixture
def url(s3: str) -> str:
    return f"{s3}/{uuid.uuid4().hex}"


@pytest.fixture
def in_memory() -> Storage:
    return open_storage(f"memory://{uuid.uuid4().hex}")


def open_writer(location: str) -> CacheWriter:
    return CacheWriter(location, dataset(), IMAGE, code_version="test")


def hold(storage: Storage, run: str) -> None:
    with storage.only_writer(run):
        pass


def leave_lease(storage: Storage, run: str = "dead") -> None:
    """What a writer leaves that was killed."""
    record = lease.LeaseRecord(host="elsewhere", process=7, run=run)
    storage.write({OWNER_FILE: record.model_dump_json().encode()})


def wait_for_renewals(storage: Storage, number: int) -> None:
    deadline = time.monotonic() + 20
    while lease.LeaseRecord.model_validate_json(storage.read(OWNER_FILE)).renewals < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# One writer


def test_a_lease_is_renewed_as_long_as_its_writer_works(in_memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_S", 0.01)
    with in_memory.only_writer("first"):
        wait_for_renewals(in_memory, 10)
        with in_memory.part_of("first"), pytest.raises(CacheLockedError, match=f"process {os.getpid()} on host"):
            hold(in_memory, "second")


@pytest.mark.parametrize(
    ("content", "holder"), [(None, "process 7 on host elsewhere"), (b"{", "another process")], ids=["sound", "damaged"]
)
def test_the_lease_of_a_dead_writer_ends(
    in_memory: Storage, monkeypatch: pytest.MonkeyPatch, content: bytes | None, holder: str
) -> None:
    leave_lease(in_memory)
    if content is not None:
        in_memory.write({OWNER_FILE: content})
    with pytest.raises(CacheLockedError, match=rf"written by {holder};.* its hold ends in 1[12]\d s"):
        hold(in_memory, "second")
    monkeypatch.setattr(lease, "LEASE_S", 0.2)
    time.sleep(0.3)
    hold(in_memory, "second")
    assert in_memory.keys("") == [], "neither lease nor clock is left"


def test_of_racing_threads_one_takes_a_stale_lease(in_memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease.Lease, "_age_s", age_of_the_dead)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(50):
            leave_lease(in_memory)
            assert sum(pool.map(lambda i: takes(in_memory, f"run {i}"), range(4))) == 1


def test_of_two_racing_processes_one_takes_a_stale_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease.Lease, "_age_s", age_of_the_dead)
    leave_lease(open_storage(url))
    barrier, answer = SPAWN.Barrier(2), SPAWN.Queue()
    racer = SPAWN.Process(target=_race, args=(url, barrier, answer))
    racer.start()
    barrier.wait(60)
    took_it = takes(open_storage(url), "here")
    assert sorted([took_it, answer.get(timeout=60)]) == [False, True]
    racer.join()


def _race(url: str, barrier: Any, answer: Any) -> None:
    lease.Lease._age_s = age_of_the_dead  # type: ignore[method-assign]
    storage = open_storage(url)
    barrier.wait(60)
    answer.put(takes(storage, "there"))


def takes(storage: Storage, run: str) -> bool:
    assert isinstance(storage, ObjectStorage)
    try:
        lease.Lease(storage._brisk, storage.location, run).take()
    except CacheLockedError:
        return False
    return True


def age_of_the_dead(_: lease.Lease, found: lease.FoundLease) -> float:
    return 1000.0 if found.of("dead") else 0.0


def test_a_writer_whose_lease_was_lost_stops_at_its_next_write(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_writer(url) as first:
        frames = first.add_split("train", split_record(6), ego_masks(IMAGE))
        monkeypatch.setattr(lease, "LEASE_S", 0.0)
        with open_writer(url) as second:
            before = objects(url)
            with pytest.raises(CacheLockedError, match=f"process {os.getpid()} on host .* has it now"):
                frames.write(frames.pending()[0], empty_frames(4, dataset(), IMAGE, split_record(6)))
            assert objects(url) == before
            with open_storage(url).part_of(second.run):
                pass
    assert not open_storage(url).exists(OWNER_FILE)


def test_a_writer_gives_back_only_its_own_lease(in_memory: Storage) -> None:
    with in_memory.only_writer("first"):
        leave_lease(in_memory, "second")
    with in_memory.part_of("second"):
        pass


def test_a_lost_lease_is_not_put_again(in_memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_S", 0.02)
    with in_memory.only_writer("first"):
        leave_lease(in_memory, "second")
        time.sleep(0.2)
        with in_memory.part_of("second"):
            pass


def test_renewal_outlives_a_failing_network(in_memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_S", 0.01)
    with in_memory.only_writer("first"):
        failures = iter([True] * 3)
        fake_put(monkeypatch, lambda _: GenericError("no route to host") if next(failures, False) else None)
        wait_for_renewals(in_memory, 10)
    assert next(failures, None) is None


def fake_put(monkeypatch: pytest.MonkeyPatch, failure: Callable[[Any], Exception | None]) -> None:
    def put(*arguments: Any, mode: Any = None, **options: Any) -> Any:
        error = failure(mode)
        if error is not None:
            raise error
        return PUT(*arguments, mode=mode, **options)

    monkeypatch.setattr(obstore, "put", put)


@pytest.mark.parametrize("error", [NotSupportedError("not supported"), GenericError("501 Not Implemented")])
def test_a_store_without_conditional_writes(
    in_memory: Storage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fake_put(monkeypatch, lambda mode: error if mode == "create" else None)
    with pytest.raises(CacheError, match=r"cannot guarantee that only one process writes .*If-None-Match"):
        hold(in_memory, "first")
    assert in_memory.keys("") == []


@pytest.mark.parametrize("ignored", ["create", "version"])
def test_a_store_that_ignores_conditions(in_memory: Storage, monkeypatch: pytest.MonkeyPatch, ignored: str) -> None:
    """A second writer would not be noticed, in silence."""

    def put(*arguments: Any, mode: Any = None, **options: Any) -> Any:
        heeded = mode == "create" if ignored == "version" else isinstance(mode, dict)
        return PUT(*arguments, mode=mode if heeded else None, **options)

    monkeypatch.setattr(obstore, "put", put)
    with pytest.raises(CacheError, match="cannot guarantee that only one process writes"):
        hold(in_memory, "first")
    assert in_memory.keys("") == []


def test_a_put_that_was_repeated_since_its_answer_was_lost(in_memory: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store then refuses the second one because of the first."""

    def put(*arguments: Any, **options: Any) -> Any:
        PUT(*arguments, **options)
        return PUT(*arguments, **options)

    monkeypatch.setattr(obstore, "put", put)
    with in_memory.only_writer("first"), in_memory.part_of("first"):
        in_memory.write({"key": b"data"})
    assert in_memory.keys("") == ["key"]


# The network


def test_patience_comes_with_the_first_answer(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong endpoint is known soon, and a run outlives an outage."""
    quick = {"init_backoff": timedelta(seconds=0.01), "max_backoff": timedelta(seconds=0.02), "base": 2}
    monkeypatch.setattr(remote, "FIRST_ANSWER", {**remote.FIRST_ANSWER, "backoff": quick})
    monkeypatch.setattr(remote, "PATIENT", {**remote.PATIENT, "backoff": quick})
    outage = [503] * 20
    statuses = iter([200, *outage, 200, *outage])
    with answering(statuses, b"data") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        storage = open_storage(f"{s3}/x")
        assert storage.read("key") == b"data"
        assert pickle.loads(pickle.dumps(storage)).read("key") == b"data"
        with pytest.raises(CacheError, match=r"key cannot be reached .*503.* check the network"):
            open_storage(f"{s3}/x").read("key")
    assert len(list(statuses)) == len(outage) - 4


def test_what_is_finished_is_spoken_of_only_where_something_was_written(
    s3: str, in_memory: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"init_backoff": timedelta(seconds=0.01), "max_backoff": timedelta(seconds=0.02), "base": 2}
    for retries in ("FIRST_ANSWER", "PATIENT"):
        brief = {"max_retries": 3, "retry_timeout": timedelta(seconds=5), "backoff": quick}
        monkeypatch.setattr(remote, retries, brief)
    with answering(itertools.repeat(503), b"") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        storage = open_storage(f"{s3}/x")
        with pytest.raises(CacheError) as reading:
            storage.read("key")
        assert "finished" not in str(reading.value)
        for hold_it in (storage.only_writer, storage.part_of):
            with pytest.raises(CacheError, match="What is finished is kept"), hold_it("first"):
                pass
        with pytest.raises(CacheError, match="What is finished is kept"):
            storage.read("key")


# The same bytes


def test_it_holds_the_same_objects_as_a_folder(sound: str, folder: Path) -> None:
    stored = objects(sound)
    assert len(stored) > 40
    assert stored == objects(folder)
    assert open_storage(sound).keys(WORKER_LOCKS) == []
    assert not open_storage(sound).exists(OWNER_FILE)


def test_a_cache_in_memory(folder: Path) -> None:
    memory = write_tiny_cache(f"memory://{uuid.uuid4().hex}/zarr", splits=("train",))
    assert objects(memory) == objects(folder)
    assert Cache(memory).split("train")[5].timestamp == 1005


def test_killed_while_writing_and_resumed_it_is_the_same(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SPAWN.Process(target=_write_and_die, args=(url, 35))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    left = objects(url)
    assert 0 < len(left) < len(objects(folder))
    with pytest.raises(CacheError, match="not complete"):
        Cache(url).split("train")
    with pytest.raises(CacheLockedError, match=f"process {writer.pid} on host .* its hold ends in 1?[0-9]{{2}} s"):
        write_tiny_cache(url, splits=("train",))
    monkeypatch.setattr(lease, "LEASE_S", 0.0)
    write_tiny_cache(url, splits=("train",))
    assert objects(url) == objects(folder)


def _write_and_die(url: str, puts: int) -> None:
    """Dies at its n-th write, in the middle of a shard."""
    count = itertools.count()

    def put(*arguments: Any, **options: Any) -> Any:
        if next(count) == puts:
            os.kill(os.getpid(), signal.SIGKILL)
        return PUT(*arguments, **options)

    obstore.put = put
    write_tiny_cache(url, splits=("train",))


def test_readers_travel(sound: str, folder: Path) -> None:
    there, here = pickle.loads(pickle.dumps(Cache(sound))), Cache(folder)
    frames, targets = there.split("train"), pickle.loads(pickle.dumps(there.targets("train", "tiny")))
    for i in (0, 5):
        np.testing.assert_array_equal(frames[i].images, here.split("train")[i].images)
        np.testing.assert_array_equal(frames[i].ego_mask, here.split("train")[i].ego_mask)
        for name, array in here.targets("train", "tiny")[i].encoded.items():
            np.testing.assert_array_equal(targets[i].encoded[name], array)


def test_what_is_lost_or_damaged_is_named(s3: str, sound: str, url: str) -> None:
    storage = open_storage(url)
    storage.write(objects(sound))
    lost, damaged = "train/teachers/tiny/bin_mean/c.1.0.0.0", "train/frames/image/c.0.0"
    storage.delete(lost)
    data = bytearray(storage.read(damaged))
    data[len(data) // 2] ^= 4
    storage.write({damaged: bytes(data)})
    with pytest.raises(CacheCorruptError, match=f"{url}/{lost}, rig 5, cannot be read: it is lost"):
        Cache(url).targets("train", "tiny")[5]
    with pytest.raises(CacheCorruptError, match=f"{url}/{damaged}.* checksum of a chunk does not match"):
        [Cache(url).split("train")[i] for i in range(4)]
    *_, found = verify(storage)
    assert isinstance(found, Verification)
    assert sorted(damage.file for damage in found.damages) == sorted([lost, damaged])
    with pytest.raises(CacheMissingError, match=f"no cache at {s3}/nothing; make one with"):
        Cache(f"{s3}/nothing")


def test_any_zarr_client_opens_it(sound: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there = zarr.open_group(zarr.storage.ObjectStore(from_url(sound), read_only=True), mode="r")
        here = zarr.open_group(str(folder), mode="r")
        for name in ("train/frames/lidar_depth", "train/frames/sample", "train/teachers/tiny/bin_mean"):
            np.testing.assert_array_equal(there[name][:], here[name][:])
        assert there[name].attrs.asdict() == here[name].attrs.asdict()
