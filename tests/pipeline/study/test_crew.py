"""Parts in processes of their own, several at a time."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from cache_schema.errors import FsmdeError, TrainingError
from pipeline.study.crew import work_off
from pipeline.study.part import Part, do_part, finished
from pipeline.study.parts import carry_out, wall_time
from stages.progress import Silent
from tests.pipeline.study.test_parts import Told, watching
from tests.pipeline.study.work import Work, break_down, count, die, fail, linger, meet, part, touch


class Shown(Silent):
    """Remembers what would be shown; may be interrupted by the first step of a part."""

    def __init__(self, interrupt: bool = False) -> None:
        self.done = 0
        self.lines: set[str] = set()
        self.notes: list[str] = []
        self.interrupt = interrupt

    def advance(self, amount: int = 1, **values: float) -> None:
        self.done += amount

    def note(self, line: str) -> None:
        self.notes.append(line)

    def working(self, worker: str, doing: str) -> None:
        self.lines.add(doing)
        if self.interrupt and doing.endswith(" 1/1000"):
            raise KeyboardInterrupt


def test_parts_run_at_the_same_time_in_processes_of_their_own(tmp_path: Path) -> None:
    shown = Shown()
    parts = [
        part(tmp_path, "a", meet, tmp_path / "b"),
        part(tmp_path, "b", meet, tmp_path / "a"),
        part(tmp_path, "c", touch),
    ]
    work_off(parts, partial(do_part, tmp_path / "parts"), 2, shown)
    assert shown.done == 3
    assert all(finished(each, tmp_path / "parts") for each in parts)
    assert (tmp_path / "c.process").read_text() != str(os.getpid())
    assert {"c: work 0/2", "c: work 1/2", "c: work 2/2"} <= shown.lines
    assert shown.notes == ["c: half done"]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_part_has_its_share_of_the_cores_also_when_it_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    work_off([part(tmp_path, name, count) for name in "ab"[:parts]], partial(do_part, tmp_path / "parts"), 2, Shown())
    assert int((tmp_path / "a").read_text()) == max((os.cpu_count() or 1) // 2, 1)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("work", "error", "says"),
    [
        (fail, TrainingError, "loss is not finite"),
        (break_down, RuntimeError, "ZeroDivisionError: something nobody thought of"),
        (die, FsmdeError, "its process died, perhaps for want of memory; try --jobs 1"),
    ],
)
def test_a_failure_is_told_and_the_others_go_on(
    tmp_path: Path, work: Work, error: type[Exception], says: str, jobs: int
) -> None:
    shown, records = Shown(), tmp_path / "parts"
    parts = [part(tmp_path, "a", touch), part(tmp_path, "b", work), part(tmp_path, "c", touch)]
    [failure] = work_off(parts, partial(do_part, records), jobs, shown)
    assert (failure.part, failure.reason) == ("b", says)
    assert isinstance(failure.error, error)
    assert f"b failed: {says}" in shown.notes
    assert [finished(each, records) for each in parts] == [True, False, True]
    assert shown.done == 3


def test_an_interruption_lets_the_parts_save_where_they_stand(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work_off([part(tmp_path, "a", linger)], partial(do_part, tmp_path / "parts"), 1, Shown(interrupt=True))
    assert (tmp_path / "a.saved").exists()
    assert time.monotonic() - started < 40
    assert not finished(part(tmp_path, "a", linger), tmp_path / "parts")


def test_only_runs_go_together_and_the_wall_time_counts_once(tmp_path: Path) -> None:
    runs = [part(tmp_path, name, meet, tmp_path / other) for name, other in (("a", "b"), ("b", "a"))]
    first, last = (Part(n, "other", "rigs", "1", tmp_path / n, partial(touch, tmp_path / n)) for n in ("x", "z"))
    said: list[str] = []
    carry_out([first, *runs, last], tmp_path / "parts", watching(Told()), said.append, jobs=2)  # type: ignore[arg-type]
    assert [line.split(";")[0] for line in said] == [
        "part 1 of 4: x",
        "parts 2 to 3 of 4, 2 at a time",
        "part 4 of 4: z",
    ]
    assert (tmp_path / "x.process").read_text() == str(os.getpid())
    assert 0 < wall_time(tmp_path / "parts") < 60
