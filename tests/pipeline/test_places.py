"""What the verbs do before any work: look at where their results would go, and at what would be refused later."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from stages.evaluate import plan as evaluate_plan
from tests.cache_schema.test_places import read_only
from tests.contents import contents
from tests.pipeline.conftest import SMALL, TRAIN_SMALL, Cli, one_line
from tests.tiny_cache import write_tiny_cache


@pytest.fixture(scope="module")
def zarr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("places") / "zarr", rigs=2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What looks like a finished run."""
    (tmp_path / "run" / "student").mkdir(parents=True)
    for name in ("config.json", "provenance.json", "student/config.json", "student/model.safetensors"):
        (tmp_path / "run" / name).write_text("{}")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.pdf"])
def test_a_sheet_that_would_be_no_picture_is_refused_at_once(cli: Cli, zarr: Path, tmp_path: Path, name: str) -> None:
    result = cli("inspect", zarr, "--sheet", tmp_path / name)
    assert "expected a name that ends in .png or .jpg or .jpeg" in one_line(result)
    assert result.stdout == ""


def test_a_sheet_is_what_its_name_says(cli: Cli, zarr: Path, tmp_path: Path) -> None:
    assert cli("inspect", zarr, "--sheet", tmp_path / "new" / "a.JPG").exit_code == 0
    assert "has no split 'nosuch'; it has: train" in one_line(cli("inspect", zarr, "--split", "nosuch"))
    assert (tmp_path / "new" / "a.JPG").read_bytes()[:2] == b"\xff\xd8"


def test_a_sheet_replaces_a_sheet_and_no_other_picture(cli: Cli, zarr: Path, tmp_path: Path) -> None:
    for ending in ("png", "jpg"):
        sheet, image = tmp_path / f"sheet.{ending}", tmp_path / f"front.{ending}"
        Image.new("RGB", (8, 8)).save(image)
        before = image.read_bytes()
        assert "was not drawn by fsmde; nothing was changed" in one_line(cli("inspect", zarr, "--sheet", image))
        assert image.read_bytes() == before
        for _ in range(2):
            assert cli("inspect", zarr, "--sheet", sheet).exit_code == 0


@pytest.mark.parametrize("verb", ["evaluate", "report", "latency"])
def test_a_run_that_cannot_be_written_is_refused_before_any_rig(
    cli: Cli, zarr: Path, run: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    read_only(monkeypatch, run)
    monkeypatch.setattr(evaluate_plan, "student_sha256", lambda folder: "0" * 64)
    message = one_line(cli(verb, "--cache", zarr, "--run", run, "--device", "cpu"))
    assert f"--run {run} cannot be written: {run}: Read-only file system; mend that, or choose another --run" in message


def test_training_into_a_disk_that_is_read_only(
    cli: Cli, zarr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only(monkeypatch, tmp_path)
    train = ("train", "--cache", zarr, "--run", tmp_path / "run", *TRAIN_SMALL, "--set", "student.bins=16")
    for more in ((), ("--dry-run",)):
        assert "Read-only file system" in one_line(cli(*train, *more))
    assert cli(*train, "--dry-run", "--fast-dev-run").exit_code == 0


def test_a_rehearsal_does_not_mind_what_the_folder_holds(cli: Cli, zarr: Path, run: Path) -> None:
    before = contents(run.parent)
    train = ("train", "--cache", zarr, *TRAIN_SMALL, "--set", "student.bins=16", "--run")
    result = cli(*train, run, "--fast-dev-run")
    assert result.exit_code == 0, result.output
    assert contents(run.parent) == before
    assert "holds" in one_line(cli(*train, run.parent))


@pytest.mark.parametrize(
    ("verb", "option"), [("compare", "--out"), ("reproduce", "--out"), ("reproduce", "--write-reference")]
)
def test_results_do_not_replace_what_a_run_holds(cli: Cli, run: Path, verb: str, option: str) -> None:
    before = contents(run)
    place = run / "config.json" if (verb, option) != ("reproduce", "--out") else run
    result = cli(verb, *((run, run) if verb == "compare" else ("--size", "smoke")), option, place)
    assert f"{option} {place}" in one_line(result)
    assert contents(run) == before


def test_a_study_is_begun_in_a_folder_of_its_own(cli: Cli, run: Path, zarr: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("size: smoke\nvariants: [lidar]\nbaseline: lidar\n")
    before = contents(run)
    for out, said in (
        (run, "is no study"),
        (zarr, "is no study"),
        (run / "study", "would lie inside the training run"),
    ):
        assert said in one_line(cli("ablate", study, "--out", out, "--dry-run"))
    assert contents(run) == before


@pytest.mark.parametrize("place", ["world", "world/000000", "run", "run/zarr"])
def test_a_cache_has_a_place_of_its_own(
    cli: Cli, teacher: Path, world: Path, run: Path, tmp_path: Path, place: str
) -> None:
    shutil.copytree(world, tmp_path / "world")
    before = contents(tmp_path)
    for more in ((), ("--dry-run",), ("--overwrite",)):
        words = ("cache-teacher", "--dataset", "ddad", "--root", tmp_path / "world", "--teacher", teacher)
        message = one_line(cli(*words, "--cache", tmp_path / place, *SMALL, *more))
        assert "is no cache; nothing was changed" in message or "would lie inside the" in message
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["run", "run/street", "run/config.json"])
def test_a_world_has_a_place_of_its_own(cli: Cli, run: Path, tmp_path: Path, place: str) -> None:
    before = contents(tmp_path)
    one_line(cli("street", tmp_path / place, "--dry-run"))
    one_line(cli("street", tmp_path / place))
    assert contents(tmp_path) == before


def test_the_dry_run_refuses_what_the_run_would(cli: Cli, cache_world: Cli, world: Path, tmp_path: Path) -> None:
    cache = tmp_path / "zarr"
    assert cache_world(world, cache, "--limit", "1").exit_code == 0
    before = contents(cache)
    for more in (
        ("--set", "targets.bins.count=32"),
        ("--device", "cuda:99"),
        ("--workers", "-1"),
        ("--scheduler", "tcp://127.0.0.1:9"),
    ):
        assert one_line(cache_world(world, cache, "--limit", "1", *more, "--dry-run")), more
    assert contents(cache) == before
    for more in ("--workers=-1", "--device=cuda:99", "--split=test", "--set=precision=int8"):
        train = ("train", "--cache", cache, "--run", tmp_path / "run", *TRAIN_SMALL, "--dry-run", more)
        assert one_line(cli(*train)), more
    assert not (tmp_path / "run").exists()


def test_finished_work_that_is_started_again_stays_as_it_is(
    cli: Cli, cache_world: Cli, trained: Path, world: Path
) -> None:
    """The cache is written with a lock, which is left as it is too."""
    steps = ("--cache", trained / "zarr", "--run", trained / "run")
    for verb in ("evaluate", "report"):
        assert cli(verb, *steps, "--device", "cpu").exit_code == 0
    before = contents(trained)
    result = cli("train", *steps, *TRAIN_SMALL, "--workers", "1", "--set", "log_every=1")
    assert (result.exit_code, "The run is finished; nothing was changed" in result.output) == (0, True)
    assert cache_world(world, trained / "zarr").exit_code == 0
    for verb in ("evaluate", "report"):
        assert cli(verb, *steps, "--device", "cpu").exit_code == 0
    assert contents(trained) == before


def sizes(printed: str) -> str:
    """The table of an inspected cache."""
    return printed[printed.index("array ") :]


def test_a_cache_copied_without_its_dot_files(cli: Cli, zarr: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(zarr, tmp_path / "zarr", ignore=shutil.ignore_patterns(".*"))
    said = "zarr lacks .fsmde/journal, which says what is finished and what every file was"
    shown, whole = cli("inspect", copy), cli("inspect", zarr)
    assert (shown.exit_code, shown.output.index(said)) == (0, len(str(tmp_path)) + 1), "said first"
    assert sizes(shown.output) == sizes(whole.output)
    result = cli("verify", copy)
    assert said in one_line(result)
    assert result.exit_code == 1
    train = ("train", "--cache", copy, "--run", tmp_path / "run", *TRAIN_SMALL, "--set", "student.bins=16")
    assert cli(*train).exit_code == 0


def test_a_cache_without_its_journal_is_not_written_again(
    cache_world: Cli, world: Path, tmp_path: Path, trained: Path
) -> None:
    copy = shutil.copytree(trained / "zarr", tmp_path / "zarr", ignore=shutil.ignore_patterns(".*"))
    before = contents(copy)
    assert "lacks .fsmde/journal" in one_line(cache_world(world, copy))
    assert contents(copy) == before


def test_line_ends_that_git_has_changed(cli: Cli, zarr: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(zarr, tmp_path / "zarr")
    for file in (copy / "train").rglob("zarr.json"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    found = json.loads(cli("verify", copy, "--json").stdout)
    assert found["damages"]
    assert all("its line ends were changed, as git does to text" in damage["reason"] for damage in found["damages"])
