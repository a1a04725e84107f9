"""`fsmde ablate` on a tiny cache: what is done, done again, left out, and told."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.study.result import StudyResult
from tests.pipeline.conftest import Cli, one_line
from tests.tiny_cache import write_tiny_cache

PARTS = Path(__file__).parents[3] / "pipeline" / "studies" / "parts.yaml"
TRAIN: dict[str, Any] = {
    "steps": 2,
    "device": "cpu",
    "loader": {"workers": 0},
    "student": {
        "bins": 16,
        "encoder": {"hidden_sizes": [8, 8, 16, 16], "embedding_size": 8},
        "decoder_channels": 8,
        "cross_view_heads": 2,
        "cross_view_grid": [2, 3],
    },
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr", rigs=4, dense_depth=True)


def write(file: Path, cache: Path, **settings: Any) -> Path:
    shared = {"ready": str(cache), "train": TRAIN, "seeds": 2, "threads": 1, "note": "Tiny."}
    file.write_text(yaml.safe_dump(shared | settings, sort_keys=False))
    return file


GRID = {
    "variants": ["lidar", "ckd", {"name": "ckd_vrkd", "set": {"train.losses.view_relation": 0.1}}],
    "grid": {"lr": {1: {"train.optimizer.lr": 0.001}, 2: {"train.optimizer.lr": 0.002}}},
    "compare": [["ckd_vrkd", "ckd"]],
    "plot": [{"x": "lr"}, {"x": "lr", "y": "lidar.consistency.rel"}],
}


@pytest.fixture(scope="module")
def out(cli: Cli, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablate")
    made = cli("ablate", write(folder / "study.yaml", cache, **GRID), "--out", folder / "out", "--jobs", "2")
    assert made.exit_code == 0, made.output
    assert "3 variants × 2 points of lr × 2 seeds" in made.output
    return folder / "out"


def read(folder: Path) -> StudyResult:
    return StudyResult.model_validate_json((folder / "result.json").read_text())


def figures(folder: Path) -> list[Any]:
    result = read(folder).model_dump(mode="json")
    return [result["rows"], result["pairs"]]


def test_every_trial_is_a_row_with_the_settings_of_its_runs(out: Path) -> None:
    result = read(out)
    names = [f"{variant}, lr {lr}" for lr in (1, 2) for variant in ("lidar", "ckd", "ckd_vrkd")]
    assert [row.name for row in result.rows] == [*names, "teacher tiny"]
    row = result.row("ckd_vrkd, lr 2")
    assert row is not None
    assert (row.place, row.against, row.seeds, row.steps, row.train_rigs) == ({"lr": 2}, "lidar, lr 2", (0, 1), 2, 4)
    for seed, run in zip(row.seeds, row.runs, strict=True):
        settings = json.loads((out / run / "config.json").read_text())
        assert (settings["seed"], settings["optimizer"]["lr"]) == (seed, 0.002)
        assert json.loads((out / run / "provenance.json").read_text())["sessions"][0]["code_version"]


def test_pairs_are_against_the_baseline_at_the_same_point_and_as_asked_for(out: Path) -> None:
    result = read(out)
    assert [(pair.row, pair.against) for pair in result.pairs] == [
        ("ckd, lr 1", "lidar, lr 1"),
        ("ckd, lr 2", "lidar, lr 2"),
        ("ckd_vrkd, lr 1", "lidar, lr 1"),
        ("ckd_vrkd, lr 2", "lidar, lr 2"),
        ("ckd_vrkd, lr 1", "ckd, lr 1"),
        ("ckd_vrkd, lr 2", "ckd, lr 2"),
    ]
    for pair in result.pairs:
        ours, theirs = result.row(pair.row), result.row(pair.against)
        assert ours is not None
        assert theirs is not None
        for name in ("lidar.abs_rel", "dense.rmse", "dense.consistency.rel", "lidar.overlap.delta_1"):
            expected = [a - b for a, b in zip(ours.figures[name].values, theirs.figures[name].values, strict=True)]  # type: ignore[operator]
            assert pair.difference[name].values == pytest.approx(expected, rel=1e-3, abs=1e-6)
        mean = pair.improvement["dense.mean"]
        assert mean.low is not None
        assert mean.high is not None
        assert mean.low <= mean.mean <= mean.high  # type: ignore[operator]


def test_the_table_says_it_for_people(out: Path) -> None:
    table = (out / "table.md").read_text()
    assert table.startswith("# tiny val: 2 seeds\n")
    assert "Tiny." in table
    signed = r"[+-]\d+\.\d"
    assert re.search(rf"\| ckd, lr 1 \|.*\| {signed} \[{signed}, {signed}\] % \|", table)
    assert "## Paired, at LiDAR points" in table
    assert "## Paired, at dense depth" in table
    assert "- `ckd`: LiDAR, and the teacher's bin probabilities (CKD)" in table


def test_plots_have_a_line_for_each_variant(out: Path) -> None:
    plots = {file.name: file.read_text() for file in out.glob("*.svg")}
    assert set(plots) == {"improvement-lidar.mean-by-lr.svg", "lidar.consistency.rel-by-lr.svg"}
    assert all((out / name).with_suffix(".png").stat().st_size > 10_000 for name in plots)
    assert ">ckd_vrkd</text>" in plots["improvement-lidar.mean-by-lr.svg"]
    assert "mean improvement at LiDAR points" in plots["improvement-lidar.mean-by-lr.svg"]
    assert "disagreement of neighbours at LiDAR points" in plots["lidar.consistency.rel-by-lr.svg"]


def test_what_is_lost_is_done_again_and_gives_the_same_figures_whatever_the_jobs(
    cli: Cli, cache: Path, out: Path, tmp_path: Path
) -> None:
    file, copy = write(tmp_path / "study.yaml", cache, **GRID), tmp_path / "out"
    shutil.copytree(out, copy)
    before = figures(copy)
    ckd, method = read(copy).row("ckd, lr 1"), read(copy).row("ckd_vrkd, lr 2")
    assert ckd is not None
    assert method is not None
    shutil.rmtree(copy / ckd.runs[0])
    (copy / method.runs[1] / "metrics.json").unlink()
    part = cli("ablate", file, "--out", copy, "--only", "ckd_vrkd")
    assert part.exit_code == 0, part.output
    assert re.findall(r"part \d+ of 5: ([^;]+);", part.output) == ["ckd_vrkd, lr 2, seed 1"]
    halfway = read(copy)
    assert halfway.row("ckd, lr 1").seeds == (1,)  # type: ignore[union-attr]
    assert next(pair for pair in halfway.pairs if pair.row == "ckd, lr 1").seeds == (1,), "what both have"
    rest = cli("ablate", file, "--out", copy, "--jobs", "1")
    assert rest.exit_code == 0, rest.output
    assert re.findall(r"part \d+ of 13: ([^;]+);", rest.output) == ["ckd, lr 1, seed 0"]
    assert figures(copy) == before


def test_a_second_run_does_nothing_and_a_changed_variant_alone_is_run_anew(
    cli: Cli, cache: Path, tmp_path: Path
) -> None:
    def run(**variant: Any) -> list[str]:
        variants = ["lidar", {"name": "mine", "like": "ckd", **variant}]
        file = write(tmp_path / "study.yaml", cache, variants=variants, seeds=1)
        made = cli("ablate", file, "--out", tmp_path / "out")
        assert made.exit_code == 0, made.output
        return re.findall(r"part \d+ of 3: ([^;]+);", made.output)

    assert run() == ["teachers", "lidar, seed 0", "mine, seed 0"]
    before = figures(tmp_path / "out")
    assert run() == []
    assert run(set={"train.losses.kl": 0.5}) == ["mine, seed 0"]
    changed = figures(tmp_path / "out")
    assert changed != before
    assert run() == ["mine, seed 0"], "its scores are looked up, though not trained again"
    assert figures(tmp_path / "out") == before


def test_a_run_that_fails_is_named_and_tried_again(cli: Cli, cache: Path, tmp_path: Path) -> None:
    def variants(bins: int) -> list[Any]:
        wrong = {"name": "wrong", "like": "ckd", "set": {"train.student.bins": bins}}
        return ["lidar", wrong, "vrkd"]

    def run(bins: int) -> Any:
        file = write(tmp_path / "study.yaml", cache, variants=variants(bins), seeds=1)
        return cli("ablate", file, "--out", tmp_path / "out")

    failed = run(8)
    assert failed.exit_code == 1
    assert "failed   wrong, seed 0: teacher tiny has targets over 16 bins, the student has 8" in failed.output
    result = read(tmp_path / "out")
    assert [row.name for row in result.rows] == ["lidar", "vrkd", "teacher tiny"], "the others went on"
    assert list(result.failed) == ["wrong, seed 0"]
    assert "## Failed" in (tmp_path / "out" / "table.md").read_text()
    assert "ConfigError" in (tmp_path / "out" / "parts" / "wrong-seed-0.error").read_text()
    mended = run(16)
    assert mended.exit_code == 0, mended.output
    assert read(tmp_path / "out").failed == {}


def test_a_dry_run_tells_what_is_done_and_left(cli: Cli, cache: Path, out: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "study.yaml", cache, **GRID)
    told = cli("ablate", file, "--out", tmp_path / "new", "--dry-run")
    assert told.exit_code == 0, told.output
    assert "12 runs, 12 left" in told.output
    assert not (tmp_path / "new").exists()
    more = cli("ablate", file, "--out", out, "--seeds", "3", "--dry-run", "--only", "lidar")
    assert re.search(r"lidar, lr 2 +2 +1 +2 +2 +4", more.output), more.output
    assert "6 runs, 2 left" in more.output
    assert "ckd" not in more.output


def test_options_and_settings_go_over_the_file(cli: Cli, cache: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "study.yaml", cache, **GRID)
    told = cli("ablate", file, "--out", tmp_path / "new", "--set", "train.steps=7", "--seeds", "4", "--dry-run")
    assert re.search(r"ckd, lr 1 +0 +4 +7 ", told.output), told.output
    assert "there is no such variant" in one_line(cli("ablate", file, "--only", "rkd", "--dry-run"))
    assert "cannot be read" in one_line(cli("ablate", tmp_path / "nowhere.yaml"))


def test_the_study_of_the_parts_runs_on_any_cache(cli: Cli, cache: Path, tmp_path: Path) -> None:
    flat = [word for key, value in flattened(TRAIN) for word in ("--set", f"train.{key}={value}")]
    made = cli("ablate", PARTS, "--out", tmp_path, "--set", f"ready={cache}", "--seeds", "1", *flat)
    assert made.exit_code == 0, made.output
    pairs = [(pair.row, pair.against) for pair in read(tmp_path).pairs]
    baseline = [(name, "lidar") for name in ("ckd", "vrkd", "ckd_vrkd")]
    assert pairs == [*baseline, ("ckd_vrkd", "ckd"), ("ckd_vrkd", "vrkd")]


def flattened(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in settings.items():
        found += flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found
