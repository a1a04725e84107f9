"""Readers that are killed, hang or fail: what is read is the same, or one line says why not."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cache_schema.errors import CacheCorruptError, TrainingError
from stages.train import parcel, readers
from stages.train.ahead import Ahead
from stages.train.readers import Readers

REQUESTS = [[0, 1], [2, 3], [4, 5], [6, 7]]


@dataclass(frozen=True)
class Numbers:
    """Reads numbers as they are. At number 4 something happens to the process: `times` times, or always."""

    folder: Path
    fault: str
    times: int = 1

    def __call__(self, request: Sequence[int]) -> Tensor:
        if 4 in request and self._befalls():
            if self.fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "hangs":
                time.sleep(1000)
            if self.fault == "no memory":
                raise MemoryError("Unable to allocate 8 GiB")
            if self.fault == "strange":
                raise StrangeError(1, 2)
        return torch.tensor(request)

    def _befalls(self) -> bool:
        number = len(list(self.folder.iterdir()))
        (self.folder / str(number)).touch()
        return number < self.times


class StrangeError(Exception):
    """One that cannot be pickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _nobody_stays() -> Iterator[None]:
    yield
    assert not [child for child in multiprocessing.active_children() if child.name == "reader"]


def read(numbers: Numbers, told: list[str], count: int = 1) -> list[list[int]]:
    processes: Readers[Tensor] = Readers(numbers, count, source="the cache", tell=told.append)
    try:
        return [batch.tolist() for batch in processes.batches(REQUESTS)]
    finally:
        processes.close()


def test_another_reader_takes_the_place_of_one_that_is_killed(tmp_path: Path, told: list[str]):
    assert read(Numbers(tmp_path, "killed"), told, count=2) == REQUESTS
    assert told == ["a reader was killed (SIGKILL); another reads the same rigs again"]


def test_another_reader_takes_the_place_of_one_that_hangs(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(readers, "PATIENCE_S", 60.0)
    clock = _fast_after(tmp_path / "0", monkeypatch)
    assert read(Numbers(tmp_path, "hangs"), told) == REQUESTS
    assert clock
    assert [line for line in told if "gave nothing" in line] == [
        "a reader gave nothing for 1 min; another reads the same rigs again"
    ]


def _fast_after(file: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock jumps once the file has been there for two seconds: by then all wait for its batch."""
    jumps: list[float] = []
    real = time.monotonic

    def now() -> float:
        if not jumps and file.exists() and time.time() - file.stat().st_mtime > 2:
            jumps.append(100.0)
        return real() + sum(jumps)

    monkeypatch.setattr(readers.time, "monotonic", now)
    return jumps


def test_readers_that_are_killed_again_and_again_end_with_a_line(tmp_path: Path, told: list[str]):
    expected = r"^the cache: 3 readers, .* could not read rigs 4, 5; the last one was killed \(SIGKILL\); .*memory"
    with pytest.raises(TrainingError, match=expected):
        read(Numbers(tmp_path, "killed", times=99), told)
    assert len(told) == 2


def test_a_lack_of_memory_in_a_reader_is_raised_here(tmp_path: Path, told: list[str]):
    with pytest.raises(MemoryError, match="Unable to allocate 8 GiB"):
        read(Numbers(tmp_path, "no memory"), told)


def test_an_error_that_cannot_travel_arrives_in_words(tmp_path: Path, told: list[str]):
    with pytest.raises(RuntimeError, match="StrangeError: 1 and 2"):
        read(Numbers(tmp_path, "strange"), told)


def test_whoever_waits_can_be_asked_to_stop(tmp_path: Path):
    processes: Readers[Tensor] = Readers(Numbers(tmp_path, "hangs"), 1, source="the cache")
    found = [batch.tolist() for batch in processes.batches(REQUESTS, lambda: (tmp_path / "0").exists())]
    processes.close()
    assert found == REQUESTS[: len(found)]
    assert len(found) <= 2


@pytest.mark.parametrize("shared", [True, False], ids=["memory file", "sent"])
def test_a_parcel_arrives_as_it_was(monkeypatch: pytest.MonkeyPatch, shared: bool):
    monkeypatch.setattr(parcel, "SHARES_MEMORY", shared and parcel.SHARES_MEMORY)
    item = (torch.arange(7, dtype=torch.float16), torch.zeros(0, 3), torch.ones(3, 5, dtype=torch.bool), "name")
    ours, theirs = Pipe()
    parcel.send(theirs, parcel.pack(item))
    *tensors, name = parcel.receive(ours)
    assert name == "name"
    for found, expected in zip(tensors, item, strict=False):
        assert torch.equal(found, expected)
        assert found.dtype == expected.dtype
        found.zero_()  # what arrives may be written to


def test_what_was_sent_outlives_the_sender_and_its_end_is_noticed():
    ours, theirs = Pipe()
    parcel.send(theirs, parcel.pack(torch.arange(3)))
    theirs.close()
    assert parcel.receive(ours).tolist() == [0, 1, 2]
    with pytest.raises(EOFError):
        parcel.receive(ours)


def test_a_thread_takes_one_ahead_and_ends_with_its_context():
    with Ahead[int](lambda: None) as ahead:
        assert next(ahead.items(iter(range(1000)))) == 0
    assert ahead.closed
    with Ahead[int](lambda: None) as ahead:
        assert list(ahead.items(iter(range(5)))) == [0, 1, 2, 3, 4]

    def damaged() -> Iterator[int]:
        yield 1
        raise CacheCorruptError("of all things")

    with Ahead[int](lambda: None) as ahead, pytest.raises(CacheCorruptError):
        list(ahead.items(damaged()))
