"""The three stages in a row, as a person types them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache_schema import Cache
from stages.evaluate.metrics import METRICS
from stages.wording import UNITS
from tests.dgp_world import write_dgp_world
from tests.pipeline.conftest import TRAIN_SMALL, Cli, one_line
from tests.real_data import real_data


def file_contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def cache(cache_world: Cli, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "zarr"
    result = cache_world(world, path)
    assert result.exit_code == 0, result.output
    assert "skipped: incomplete sample 000000 lacks CAMERA_07, CAMERA_09, CAMERA_08" in result.output
    assert f"Next: fsmde train --cache {path}" in result.output
    return path


def test_stages_2_and_3_run_without_the_raw_data(cli: Cli, cache_world: Cli, world: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(world, raw)
    assert cache_world(raw, tmp_path / "zarr").exit_code == 0
    raw.rename(tmp_path / "elsewhere")
    trained = cli("train", "--cache", tmp_path / "zarr", "--run", tmp_path / "run", *TRAIN_SMALL)
    assert trained.exit_code == 0, trained.output
    scored = cli("evaluate", "--cache", tmp_path / "zarr", "--run", tmp_path / "run", "--device", "cpu")
    assert scored.exit_code == 0, scored.output
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [(s["subject"], s["scaling"]) for s in result["scores"]] == [
        (subject, scaling)
        for subject in ("student", "teacher tiny", "teacher tiny, median only")
        for scaling in ("none", "median_image", "median_rig")
    ]
    assert result["protocol"]["range_m"] == [0.1, 200.0]
    assert set(result["scores"][0]["mean"]["metrics"]) == set(METRICS)
    assert result["scores"][0]["mean"]["images"] == 3 * 6, "no image is dropped"


def test_a_finished_cache_is_left_alone(cache: Path, cache_world: Cli, world: Path) -> None:
    before = file_contents(cache)
    again = cache_world(world, cache)
    assert again.exit_code == 0
    assert "nothing to do" in again.output
    assert file_contents(cache) == before


def test_two_runs_write_the_same_bytes(cache: Path, cache_world: Cli, world: Path, tmp_path: Path) -> None:
    assert cache_world(world, tmp_path / "zarr").exit_code == 0
    assert file_contents(tmp_path / "zarr") == file_contents(cache)


def test_rigs_without_lidar_teach_beside_those_with(
    cache: Path, cache_world: Cli, cli: Cli, world: Path, tmp_path: Path
) -> None:
    further = tmp_path / "further"
    made = cache_world(world, further, "--without-lidar")
    assert made.exit_code == 0, made.output
    assert "without LiDAR" in made.output
    assert f"--unlabelled {further}" in made.output, "what to do next"
    assert not len(Cache(further).split("train")[0].lidar[0].depth_m)

    refused = one_line(cli("train", "--cache", further, "--run", tmp_path / "run", *TRAIN_SMALL))
    assert f"--unlabelled {further}" in refused
    trained = cli("train", "--cache", cache, "--unlabelled", further, "--run", tmp_path / "run", *TRAIN_SMALL)
    assert trained.exit_code == 0, trained.output
    assert str(further) in trained.output
    scored = one_line(cli("evaluate", "--cache", further, "--run", tmp_path / "run", "--device", "cpu"))
    assert "nothing to compare with" in scored


def test_a_second_teacher_stands_beside_the_first(
    cache: Path, cache_world: Cli, cli: Cli, world: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(cache, tmp_path / "zarr")
    frames = file_contents(copy / "train" / "frames")
    added = cache_world(world, copy, "--teacher-name", "second", "--encoding", "topk", "--no-flip")
    assert added.exit_code == 0, added.output
    assert file_contents(copy / "train" / "frames") == frames
    assert Cache(copy).manifest.splits["train"].teachers_complete == ("second", "tiny")
    asked = cli("train", "--cache", copy, "--run", tmp_path / "run", *TRAIN_SMALL)
    assert asked.exit_code != 0
    assert "several teachers" in asked.stderr
    trained = cli("train", "--cache", copy, "--run", tmp_path / "run", "--teacher", "second", *TRAIN_SMALL)
    assert trained.exit_code == 0, trained.output


def test_the_plan_is_printed_and_nothing_is_written(cache_world: Cli, world: Path, tmp_path: Path) -> None:
    result = cache_world(world, tmp_path / "zarr", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Predicted size" in result.output
    assert not (tmp_path / "zarr").exists()


def test_the_predicted_size_is_close(cache_world: Cli, tmp_path: Path) -> None:
    raw, path = write_dgp_world(tmp_path / "raw", scenes=1, samples=8), tmp_path / "zarr"
    arguments = (raw, path, "--split", "train", "--shard-rigs", "8")
    planned = cache_world(*arguments, "--dry-run")
    assert planned.exit_code == 0, planned.output
    rows = [line.replace("│", " ").split() for line in planned.output.splitlines() if line.startswith("│")]
    predicted = {name: float(number) * 1000 ** UNITS.index(unit) for name, _, _, number, unit in rows}
    assert cache_world(*arguments).exit_code == 0
    written = {name: sum(p.stat().st_size for p in (path / "train" / name).glob("c.*")) for name in predicted}
    written["all"] = sum(written.values())
    assert len(written) > 10
    assert predicted == pytest.approx(written, rel=0.2, abs=500)


def test_training_resumes_and_a_finished_run_is_left_alone(cache: Path, cli: Cli, tmp_path: Path) -> None:
    arguments = ("train", "--cache", cache, "--run", tmp_path / "run", *TRAIN_SMALL)
    assert cli(*arguments).exit_code == 0
    before = (tmp_path / "run/student/model.safetensors").read_bytes()
    again = cli(*arguments)
    assert again.exit_code == 0
    assert "4 done" in again.output
    assert (tmp_path / "run/student/model.safetensors").read_bytes() == before


def test_a_lost_shard_is_restored_by_stage_1(cache: Path, cache_world: Cli, world: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cache, tmp_path / "zarr")
    for lost in ("frames/lidar_depth/c.0.0", "teachers/tiny/bin_mean/c.1.0.0.0"):
        (copy / "train" / lost).unlink()
    assert cache_world(world, copy).exit_code == 0
    assert file_contents(copy) == file_contents(cache)


def test_ctrl_c_keeps_the_steps_that_were_taken(cache: Path, tmp_path: Path) -> None:
    """A process of its own, since the signal goes to a process."""
    fsmde = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    command = [*fsmde, "train", "--cache", cache, "--run", tmp_path / "run", *TRAIN_SMALL[2:], "--steps", "100000"]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True) as process:
        curves = tmp_path / "run" / "tensorboard"
        deadline = time.monotonic() + 120
        while not curves.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in message
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert int(checkpoint.name.removeprefix("step_")) > 0


@pytest.mark.real_data
def test_the_real_frames_go_through_all_stages(cli: Cli, teacher: Path, tmp_path: Path) -> None:
    root, masks = real_data("ddad_sample"), real_data("masks", "ddad_group_0")
    cached = cli(
        "cache-teacher", "--dataset", "ddad", "--root", root, "--teacher", teacher, "--cache", tmp_path / "zarr",
        "--ego-masks", masks, "--height", "96", "--width", "160", "--split", "train", "--limit", "1", "--device", "cpu",
    )  # fmt: skip
    assert cached.exit_code == 0, cached.output
    assert "scene_01 sample 000000 lacks CAMERA_07" in cached.output
    rig = Cache(tmp_path / "zarr").split("train")[0]
    assert [len(view.depth_m) for view in rig.lidar] == [5157, 11850, 10668, 9363, 10069, 11503]
    assert not rig.ego_mask.all()
    run = ("--cache", tmp_path / "zarr", "--run", tmp_path / "run", "--split", "train", "--device", "cpu")
    trained = cli("train", *run, *TRAIN_SMALL)
    assert trained.exit_code == 0, trained.output
    scored = cli("evaluate", *run)
    assert scored.exit_code == 0, scored.output
