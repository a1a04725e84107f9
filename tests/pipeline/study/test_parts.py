"""A row of parts: skipped when finished, gone on with when interrupted, its time kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cache_schema.errors import FsmdeError, TrainingError
from pipeline.study.part import Failure, Part, finished
from pipeline.study.parts import carry_out, refuse_failures, seconds, seconds_left
from stages.progress import Progress, Silent


class Told(Silent):
    """Remembers the tasks that began."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def begin(self, task: str, total: int, done: int = 0) -> None:
        self.tasks.append(task)


@pytest.fixture
def told() -> Told:
    return Told()


def part(
    folder: Path,
    name: str,
    done: list[str],
    digest: str = "1",
    fails: type[BaseException] | None = None,
    needs: tuple[str, ...] = (),
) -> Part:
    def run(progress: Progress) -> None:
        progress.begin("work", 1)
        if fails is not None:
            raise fails("as it was told to")
        done.append(name)
        (folder / name).touch()

    return Part(name=name, kind="run", unit="steps", digest=digest, output=folder / name, run=run, needs=needs)


def watching(told: Told) -> Callable[[str], object]:
    @contextmanager
    def watch(unit: str) -> Iterator[Progress]:
        yield told

    return watch


def run(parts: list[Part], folder: Path, told: Told) -> list[str]:
    said: list[str] = []
    carry_out(parts, folder / "parts", watching(told), said.append)  # type: ignore[arg-type]
    return said


def test_what_is_finished_is_skipped(tmp_path: Path, told: Told) -> None:
    done: list[str] = []
    parts = [part(tmp_path, name, done) for name in ("a", "b")]
    said = run(parts, tmp_path, told)
    assert said[0].startswith("part 1 of 2: a")
    assert told.tasks == ["1/2 work", "2/2 work"]
    assert run(parts, tmp_path, told) == ["2 of 2 parts done"]
    assert done == ["a", "b"]


def test_other_settings_and_a_lost_output_are_done_again(tmp_path: Path, told: Told) -> None:
    done: list[str] = []
    run([part(tmp_path, "a", done)], tmp_path, told)
    run([part(tmp_path, "a", done, digest="2")], tmp_path, told)
    (tmp_path / "a").unlink()
    run([part(tmp_path, "a", done, digest="2")], tmp_path, told)
    assert done == ["a", "a", "a"]


def test_an_interrupted_part_is_gone_on_with_and_its_time_counts(tmp_path: Path, told: Told) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run([part(tmp_path, "a", done), part(tmp_path, "b", done, fails=KeyboardInterrupt)], tmp_path, told)
    parts = [part(tmp_path, "a", done), part(tmp_path, "b", done)]
    assert [finished(each, tmp_path / "parts") for each in parts] == [True, False]
    assert set(seconds(parts, tmp_path / "parts")) == {"a", "b"}
    said = run(parts, tmp_path, told)
    assert said[0] == "1 of 2 parts done"
    assert said[1].startswith("part 2 of 2: b")
    assert done == ["a", "b"]


def test_what_fails_is_told_and_holds_up_only_what_needs_it(tmp_path: Path, told: Told) -> None:
    done: list[str] = []
    records = tmp_path / "parts"

    def parts(fails: type[BaseException] | None) -> list[Part]:
        return [
            part(tmp_path, "cache", done, fails=fails),
            part(tmp_path, "a, seed 0", done, needs=("cache",)),
            part(tmp_path, "b", done),
        ]

    failures = carry_out(parts(TrainingError), records, watching(told), lambda line: None)  # type: ignore[arg-type]
    assert [(failure.part, failure.reason) for failure in failures] == [
        ("cache", "as it was told to"),
        ("a, seed 0", "needs cache, which failed"),
    ]
    assert done == ["b"]
    assert "as it was told to" in (records / "cache.error").read_text()
    with pytest.raises(TrainingError):
        refuse_failures(failures)
    with pytest.raises(FsmdeError, match=r"cache: as it was told to; b: lost; .*try these again"):
        refuse_failures([*failures, Failure("b", TrainingError("lost"))])
    assert carry_out(parts(None), records, watching(told), lambda line: None) == []  # type: ignore[arg-type]
    assert done == ["b", "cache", "a, seed 0"]
    assert not (records / "cache.error").exists()


def test_time_left_is_that_of_like_parts(tmp_path: Path, told: Told) -> None:
    done: list[str] = []
    parts = [part(tmp_path, name, done) for name in ("a", "b", "c")]
    assert seconds_left(parts, tmp_path / "parts") is None
    run(parts[:1], tmp_path, told)
    record = tmp_path / "parts" / "a.json"
    spent = seconds(parts, tmp_path / "parts")["a"]
    record.write_text(record.read_text().replace(f'"seconds":{spent}', '"seconds":60').replace(f": {spent}", ": 60"))
    assert seconds_left(parts, tmp_path / "parts") == pytest.approx(120)
