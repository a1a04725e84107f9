"""Two runs compared, as a person does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.evaluate.metrics import METRICS
from tests.pipeline.conftest import TRAIN_SMALL, Cli, one_line


@pytest.fixture(scope="module")
def scored(cli: Cli, cache_world: Cli, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scored runs, `a` and `b`."""
    folder = tmp_path_factory.mktemp("compare")
    assert cache_world(world, folder / "zarr").exit_code == 0
    for name, seed in (("a", "0"), ("b", "1")):
        run = ("--cache", folder / "zarr", "--run", folder / name)
        assert cli("train", *run, *TRAIN_SMALL, "--seed", seed).exit_code == 0
        assert cli("evaluate", *run, "--device", "cpu").exit_code == 0
    return folder


@pytest.fixture
def runs(scored: Path, tmp_path: Path) -> Path:
    """A copy of them that may be changed."""
    return Path(shutil.copytree(scored, tmp_path / "runs", ignore=shutil.ignore_patterns("zarr")))


def mean(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "metrics.json").read_text())["scores"][0]["mean"]["metrics"]
    return found


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_the_second_is_compared_with_the_first(cli: Cli, scored: Path, tmp_path: Path) -> None:
    result = cli("compare", scored / "a", scored / "b", "--out", tmp_path / "found.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text())
    first, second = mean(scored / "a"), mean(scored / "b")
    assert first["abs_rel"] != second["abs_rel"]
    for metric in METRICS:
        figure = found["figures"][f"lidar.{metric}"]
        assert (figure["first"], figure["second"]) == (first[metric], second[metric])
        assert figure["difference"]["mean"] == pytest.approx(second[metric] - first[metric], abs=1e-5)
    better = 1 - second["abs_rel"] / first["abs_rel"]
    assert found["figures"]["lidar.abs_rel"]["improvement"]["mean"] == pytest.approx(better, abs=1e-5)
    assert f"{100 * better:+.1f}" in result.output
    assert "lidar.0-10m.abs_rel" in found["figures"]
    assert (found["rigs"], found["scenes"]) == (3, 1)
    assert "Intervals are over the 3 rigs of 1 scene: they say nothing of other scenes." in words(result.output)


def words(printed: str) -> str:
    return " ".join(printed.split())


def test_a_single_rig_has_no_interval(cli: Cli, cache_world: Cli, world: Path, runs: Path) -> None:
    assert cache_world(world, runs / "one", "--limit", "1").exit_code == 0
    for name in ("a", "b"):
        (runs / name / "metrics.json").unlink()
        scored = cli("evaluate", "--cache", runs / "one", "--run", runs / name, "--device", "cpu")
        assert "There is no interval, for there is 1 rig" in words(scored.output)
    printed = words(cli("compare", runs / "a", runs / "b").output)
    assert "95 %" not in printed
    assert "There is no interval, for there is 1 rig: another might say the opposite." in printed


def test_a_run_is_as_good_as_itself(cli: Cli, scored: Path) -> None:
    result = cli("compare", scored / "a", scored / "a")
    assert "The second is better by +0.0 % at LiDAR points" in words(result.output)
    assert "Where an interval" not in result.output


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dataset_version": "other"}, "is of dataset_version other"),
        ({"schema_version": 1}, "is not a result of this version of fsmde; score again"),
    ],
)
def test_results_that_cannot_be_compared(cli: Cli, runs: Path, values: dict[str, Any], said: str) -> None:
    change(runs / "b" / "metrics.json", **values)
    assert said in one_line(cli("compare", runs / "a", runs / "b"))


def test_a_run_that_was_not_scored(cli: Cli, runs: Path) -> None:
    message = one_line(cli("compare", runs / "a", runs / "b", "--protocol", "network"))
    assert f"fsmde evaluate --cache ZARR --run {runs / 'a'} --split val --protocol network" in message
    assert "--protocol FILE.yaml" in one_line(cli("compare", runs / "a", runs / "b", "--protocol", "near"))
    assert "nowhere: no such folder" in one_line(cli("compare", runs / "a", runs / "nowhere"))


def test_a_student_trained_on_other_data_says_so(cli: Cli, cache_world: Cli, world: Path, runs: Path) -> None:
    assert cache_world(world, runs / "larger", "--height", "96", "--width", "128").exit_code == 0
    (runs / "a" / "metrics.json").unlink()
    result = cli("evaluate", "--cache", runs / "larger", "--run", runs / "a", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"doubtful {runs / 'a'} was trained on images of 96 × 64, not 128 × 96" in result.output
    assert json.loads((runs / "a" / "metrics.json").read_text())["trained_otherwise"] == [
        "images of 96 × 64, not 128 × 96"
    ]


def test_other_rigs(cli: Cli, cache_world: Cli, world: Path, runs: Path) -> None:
    assert cache_world(world, runs / "fewer", "--limit", "2").exit_code == 0
    (runs / "b" / "metrics.json").unlink()
    assert cli("evaluate", "--cache", runs / "fewer", "--run", runs / "b", "--device", "cpu").exit_code == 0
    message = one_line(cli("compare", runs / "a", runs / "b"))
    assert "are of other rigs (" in message
    assert " 000002 is in one alone" in message
