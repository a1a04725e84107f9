"""A run that is scored on several data keeps the results of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache_schema import Cache
from cache_schema.errors import EvaluationError
from pipeline.study.two_runs import compare_runs
from stages.evaluate import execute as stage
from stages.evaluate.files import data_label, is_of, results
from stages.progress import Silent
from tests.stages.evaluate.test_execute import constant, planned
from tests.tiny_cache import write_tiny_cache


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same rigs in another size, and fewer of them; split val alone."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "first": write_tiny_cache(folder / "first", splits=("val",), rigs=4),
        "smaller": write_tiny_cache(folder / "smaller", splits=("val",), rigs=4, size_hw=(32, 48)),
        "fewer": write_tiny_cache(folder / "fewer", splits=("val",), rigs=3),
    }


@pytest.fixture(autouse=True)
def _any_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_subjects", lambda _: [constant(9.0)])


def score(cache: Path, run: Path, *protocols: str) -> list[str]:
    """Score a run; the names of the results."""
    made = planned(cache, run, *protocols)
    stage.execute(made, Silent(), code_version="test")
    return [made.output(by).name for by in made.protocols]


def test_other_data_get_files_of_their_own(caches: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert score(caches["first"], run) == ["metrics.json"]
    first = (run / "metrics.json").read_bytes()
    names = {name: score(caches[name], run, "native", "network") for name in ("smaller", "fewer")}
    label = data_label(run, Cache(caches["smaller"]).manifest, "val")
    assert label.startswith("tiny-")
    assert names["smaller"] == [f"metrics-{label}.json", f"metrics-network-{label}.json"]
    assert len({*names["smaller"], *names["fewer"]}) == 4
    assert (run / "metrics.json").read_bytes() == first
    for name, cache in caches.items():
        manifest = Cache(cache).manifest
        mine = [file.name for file, result in results(run, "val").items() if is_of(result, manifest, "val")]
        assert mine == names.get(name, ["metrics.json"])


def test_the_same_data_in_another_place_replace_their_results(caches: dict[str, Path], tmp_path: Path) -> None:
    """Moved, or cached again with shards of another size."""
    score(caches["first"], tmp_path)
    again = write_tiny_cache(tmp_path / "moved", splits=("val", "train"), rigs=4)
    assert score(again, tmp_path) == ["metrics.json"]


def test_data_keep_their_names_when_the_first_results_are_gone(caches: dict[str, Path], tmp_path: Path) -> None:
    score(caches["first"], tmp_path)
    [name] = score(caches["fewer"], tmp_path)
    (tmp_path / "metrics.json").unlink()
    assert score(caches["fewer"], tmp_path) == [name]


def test_results_of_earlier_versions_are_known_by_dataset_and_rigs(caches: dict[str, Path], tmp_path: Path) -> None:
    score(caches["first"], tmp_path)
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data_sha256": None}))
    assert score(caches["fewer"], tmp_path) != ["metrics.json"]
    assert score(caches["first"], tmp_path) == ["metrics.json"]


def test_a_result_that_cannot_be_read_gives_way(caches: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"schema_version": 1}')
    assert score(caches["first"], tmp_path) == ["metrics.json"]


def test_runs_are_compared_on_the_data_that_both_were_scored_on(
    caches: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(caches["first"], tmp_path / "a")
    score(caches["fewer"], tmp_path / "a")
    monkeypatch.setattr(stage, "_subjects", lambda _: [constant(8.0)])
    score(caches["fewer"], tmp_path / "b")

    def rigs(cache: str | None = None) -> int:
        return compare_runs(tmp_path / "a", tmp_path / "b", "val", "native", cache, code_version="test").rigs

    assert rigs() == 3
    score(caches["first"], tmp_path / "b")
    assert rigs() == 4  # those with the plain names in the first
    assert rigs(str(caches["fewer"])) == 3
    with pytest.raises(EvaluationError, match=rf"score the run first: fsmde evaluate --cache {caches['smaller']}"):
        rigs(str(caches["smaller"]))
