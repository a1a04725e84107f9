"""`fsmde reproduce` on a small world: the table, the result, the report, and what happens the second time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from cache_schema import Cache
from pipeline.reproduce.result import ComparisonResult
from pipeline.reproduce.variants import CONTROLS, VARIANTS, Variant
from tests.pipeline.conftest import Cli, needs_nothing_from_outside, one_line

SMALL = {
    "cache.image.height": 64,
    "cache.image.width": 96,
    "cache.targets.token_grid": [2, 3],
    "train.log_every": 1,
    "train.loader.workers": 0,
    "train.student.encoder.hidden_sizes": [8, 8, 16, 16],
    "train.student.encoder.embedding_size": 8,
    "train.student.decoder_channels": 8,
    "train.student.cross_view_heads": 2,
}


FEW = ("lidar", "pseudo_label", "ckd", "ckd_vrkd")
"""Compared here, for a test's time; `make reproduce SMOKE=1` compares all."""


@pytest.fixture(scope="module")
def few() -> Iterator[None]:
    everything = dict(VARIANTS)
    variants = cast("dict[str, Variant]", VARIANTS)
    variants.clear()
    variants.update({name: everything[name] for name in FEW})
    yield
    variants.clear()
    variants.update(everything)


def arguments(world: Path, teacher: Path, out: Path, *more: str | Path) -> list[str | Path]:
    assignments = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    given = ("reproduce", "--root", world, "--teacher", teacher, "--out", out, "--steps", "2", "--device", "cpu")
    return [*given, *assignments, *more]


@pytest.fixture(scope="module")
def out(cli: Cli, few: None, world: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    result = cli(*arguments(world, teacher, folder))
    assert result.exit_code == 0, result.output
    assert "part 1 of 11: cache" in result.output
    return folder


@pytest.fixture(scope="module")
def result(out: Path) -> ComparisonResult:
    return ComparisonResult.model_validate_json((out / "result.json").read_text())


def test_the_table_has_a_row_for_every_variant_and_the_teacher(out: Path) -> None:
    table = (out / "table.md").read_text()
    for row in (*VARIANTS, "teacher tiny"):
        assert f"| {row} | " in table
    assert re.search(r"\| lidar \| \d+\.\d{3} ± \d+\.\d{3} \|", table), "mean and spread over two seeds"
    assert re.search(r"times (faster|slower)", table)
    assert "| all, some at the same time | " in table


def test_figures_that_the_cache_has_no_truth_for_have_no_column(out: Path, result: ComparisonResult) -> None:
    assert not result.knows("dense.abs_rel")
    assert "dense" not in (out / "table.md").read_text()


def test_every_variant_is_compared_with_the_baseline_and_the_method_with_every_other(
    out: Path, result: ComparisonResult
) -> None:
    assert [(pair.row, pair.against) for pair in result.pairs] == [
        *((name, "lidar") for name in VARIANTS if name != "lidar"),
        *(("ckd_vrkd", name) for name in VARIANTS if name not in ("lidar", "ckd_vrkd")),
    ]
    for pair in result.pairs:
        mean = pair.improvement["lidar.mean"]
        assert pair.seeds == (0, 1)
        assert len(mean.values) == 2
        assert mean.mean is not None
        assert mean.low is not None
        assert mean.high is not None
        assert mean.low <= mean.mean <= mean.high
        assert pair.difference["lidar.abs_rel"].mean == pytest.approx(
            result.row(pair.row).figures["lidar.abs_rel"].mean - result.row(pair.against).figures["lidar.abs_rel"].mean,  # type: ignore[union-attr,operator]
            rel=1e-3,
            abs=1e-5,
        )
        assert "lidar.consistency.rel" in pair.difference
    assert re.search(r"\| ckd \|.*\| [+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\] % \|", (out / "table.md").read_text())


def test_the_result_holds_every_figure_of_every_seed(result: ComparisonResult) -> None:
    assert result.seeds == (0, 1)
    assert [row.name for row in result.rows] == [*VARIANTS, "teacher tiny"]
    row = result.row("ckd_vrkd")
    assert row is not None
    assert len(row.figures["lidar.abs_rel"].values) == 2
    assert "lidar.median_image.abs_rel" in row.figures
    assert "lidar.consistency.rel" in row.figures
    assert set(row.change) == {"lidar.abs_rel", "lidar.gain"}
    assert result.row("lidar").change == {}  # type: ignore[union-attr]
    assert result.steps == 2
    assert result.latency.ratio > 0
    assert set(result.seconds) > {"cache", "latency", "ckd, seed 1"}
    assert result.settings["train"]["steps"] == 2  # type: ignore[index,call-overload]


def test_the_report_needs_nothing_from_outside(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert needs_nothing_from_outside(page)
    assert "<script" not in page
    assert page.count("<svg") == page.count("</svg>") == 2
    for name in (*VARIANTS, "teacher tiny"):
        assert page.count(f'alt="depth of {name}"') == page.count(f'alt="error of {name}"') == 1
    for identifier in set(re.findall(r"url\(#([^)]+)\)", page)):
        assert page.count(f'id="{identifier}"') == 1, "the charts do not share names"


def test_a_second_run_does_nothing_but_write_the_results(
    cli: Cli, world: Path, teacher: Path, out: Path, result: ComparisonResult, tmp_path: Path
) -> None:
    [weights] = out.glob("runs/ckd-????????-1/student/model.safetensors")
    before, table = weights.stat().st_mtime_ns, (out / "table.md").read_text()
    again = cli(*arguments(world, teacher, out, "--write-reference", tmp_path / "mine.json"))
    assert again.exit_code == 0, again.output
    assert "part " not in again.output
    assert weights.stat().st_mtime_ns == before
    assert (out / "table.md").read_text() == table
    reference = json.loads((tmp_path / "mine.json").read_text())
    assert "root" not in reference["settings"]["cache"], "holds wherever the data lies"
    known, expected = result.row("ckd"), reference["rows"]["ckd"]
    assert known is not None
    for name, figure in (
        ("lidar.rmse", known.figures["lidar.rmse"]),
        ("change:lidar.gain", known.change["lidar.gain"]),
    ):
        assert figure.mean is not None
        assert figure.spread is not None
        floor = 0.05 if name.startswith("change:") else 0.1 * abs(figure.mean)
        assert expected[name]["expected"] == pytest.approx(figure.mean, rel=1e-3)
        assert expected[name]["tolerance"] == pytest.approx(max(floor, 3 * figure.spread), rel=1e-3)

    checked = cli(*arguments(world, teacher, out, "--reference", tmp_path / "mine.json", "--strict"))
    assert checked.exit_code == 0, checked.output
    assert "in the reference" not in checked.output, "the settings are the same"
    assert checked.output.count("all as expected") == len(VARIANTS) + 1


def test_further_rigs_without_lidar_are_cached_and_compared(
    cli: Cli, few: None, world: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(cast("dict[str, Variant]", VARIANTS), "ckd")
    more = ("--unlabelled", world, "--set", "targets_of.pseudo_label.normalisation=quantiles")
    made = cli(*arguments(world, teacher, tmp_path, *more, "--seeds", "1", "--jobs", "2"))
    assert made.exit_code == 0, made.output
    assert "cache without LiDAR, targets of pseudo_label" in made.output
    assert "parts 6 to 10 of 11, 2 at a time" in made.output
    assert not Cache(tmp_path / "zarr-unlabelled").split("train").record.lidar
    for name in ("zarr", "zarr-unlabelled"):
        teachers = Cache(tmp_path / name).manifest.teachers
        ways = {teacher: record.targets.normalisation for teacher, record in teachers.items()}
        assert ways == {"tiny": "median", "tiny-pseudo_label": "quantiles"}
    [taught] = tmp_path.glob("runs/pseudo_label-*/config.json")
    assert json.loads(taught.read_text())["teacher"] == "tiny-pseudo_label"
    assert "tiny-pseudo_label" not in (tmp_path / "report.html").read_text().partition("<details")[0]
    result = ComparisonResult.model_validate_json((tmp_path / "result.json").read_text())
    assert [row.name for row in result.rows] == [*VARIANTS, *CONTROLS, "teacher tiny"]
    table = (tmp_path / "table.md").read_text()
    assert "| ckd_vrkd_same |" in table
    assert "up to scale and shift; targets of its own: normalisation=quantiles" in table
    further = Cache(tmp_path / "zarr-unlabelled").manifest.splits["train"].rigs
    assert f"of 6 views and {further} without LiDAR, for those they teach" in table


def test_other_targets_than_those_that_are_there_are_refused_before_any_work(
    cli: Cli, world: Path, teacher: Path, out: Path
) -> None:
    before = (out / "result.json").read_text()
    refused = one_line(cli(*arguments(world, teacher, out, "--set", "cache.targets.normalisation=quantiles")))
    assert "normalisation: 'median' stored, 'quantiles' asked" in refused
    assert "another --out" in refused
    assert (out / "result.json").read_text() == before


def test_further_rigs_that_are_not_there_are_missed_before_any_work(
    cli: Cli, world: Path, teacher: Path, tmp_path: Path
) -> None:
    message = one_line(cli(*arguments(world, teacher, tmp_path / "out", "--unlabelled", tmp_path / "nowhere")))
    assert "nowhere: no such folder" in message
    assert not (tmp_path / "out").exists()


def test_more_seeds_are_added_and_compared_with_a_reference_row_by_row(
    cli: Cli, world: Path, teacher: Path, out: Path, result: ComparisonResult, tmp_path: Path
) -> None:
    known = result.row("lidar").figures["lidar.abs_rel"].mean  # type: ignore[union-attr]
    reference = tmp_path / "reference.json"
    expectations = {
        "ckd": {"lidar.abs_rel": {"expected": known, "tolerance": known}},
        "lidar": {
            "lidar.abs_rel": {"expected": -5, "tolerance": 1},
            "change:lidar.abs_rel": {"expected": 0, "tolerance": 1},
        },
    }
    reference.write_text(json.dumps({"settings": {"train.steps": 400}, "rows": expectations}))
    given = arguments(world, teacher, out, "--seeds", "3", "--reference", reference)
    more = cli(*given)
    assert more.exit_code == 0, more.output
    started = re.findall(r"part \d+ of 15: ([^;]+);", more.output)
    assert started == [f"{name}, seed 2" for name in VARIANTS]
    assert "train.steps: 400 in the reference, 2 here" in more.output
    assert "ckd: 1 figure, all as expected" in more.output
    assert "lidar: 2 figures, 2 not as expected" in more.output
    table = (out / "table.md").read_text()
    assert "ckd lidar.abs_rel: holds" in table
    assert "lidar lidar.abs_rel: differs" in table
    assert "lidar change:lidar.abs_rel: missing: nothing found" in table
    assert cli(*given, "--strict").exit_code == 1


def test_a_reference_that_is_none_is_refused_before_any_work(
    cli: Cli, world: Path, teacher: Path, tmp_path: Path
) -> None:
    (tmp_path / "reference.json").write_text('{"rows": {"ckd": {"lidar.abs_rel": 0.1}}}')
    message = one_line(cli(*arguments(world, teacher, tmp_path / "out", "--reference", tmp_path / "reference.json")))
    assert "rows.ckd.lidar.abs_rel" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--root", "x"), "TEACHER="),
        (("--root", "x", "--teacher", "y", "--size", "smoke"), "give one of them"),
        (("--dataset", "ddad"), "--root DIR"),
        (("--ego-masks", "x"), "goes with the data of --root"),
        (("--unlabelled", "x"), "goes with the data of --root"),
        (("--size", "huge"), "smoke, small"),
        (("--size", "smoke", "--strict"), "--reference FILE"),
    ],
)
def test_contradictions_name_the_way_out(cli: Cli, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    message = one_line(cli("reproduce", "--out", tmp_path / "out", *words))
    assert all(word in message for word in says.split(", "))
    assert not (tmp_path / "out").exists()
