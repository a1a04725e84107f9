"""Dask's own thread has ten seconds to start, which on a busy machine is not always enough."""

from __future__ import annotations

from typing import Any

import distributed
import pytest

from cache_schema.errors import ConfigError
from stages.cache_teacher.cluster import TRIES, open_cluster


class Late:
    """A client whose thread has started after so many tries."""

    def __init__(self, tries: int) -> None:
        self.left = tries

    def __call__(self, *_: Any, **__: Any) -> Late:
        self.left -= 1
        assert self.left == 0
        return self

    def __enter__(self) -> Late:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def nthreads(self) -> dict[str, int]:
        return {"worker": 1}

    def wait_for_workers(self, count: int, timeout: float) -> None:
        pass


def test_a_thread_that_is_late_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    late, told = Late(TRIES), list[str]()
    monkeypatch.setattr(distributed, "Client", late)
    with open_cluster("tcp://127.0.0.1:1", 0, told.append) as client:
        assert client is late
    assert not told


def test_one_that_never_starts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "Client", Late(TRIES + 1))
    with (
        pytest.raises(ConfigError, match=f"{TRIES} times: this machine is too busy"),
        open_cluster("tcp://a:1", 0, print),
    ):
        pass
