"""Bad input: one line that names the file and the remedy, a status other than zero, a cache that resumes."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Cache, CacheWriter, ImageSpec
from tests.dgp_world import write_dgp_world
from tests.pipeline.conftest import TRAIN_SMALL, Cli, one_line
from tests.pipeline.test_chain import file_contents
from tests.tiny_cache import dataset, split_record, write_tiny_cache


def last_file(root: Path, pattern: str) -> Path:
    """A file of the last train sample, which lies in the second shard."""
    return sorted((root / "000000").glob(pattern))[-1]


def truncated_jpeg(root: Path) -> Path:
    file = last_file(root, "rgb/CAMERA_09/*.jpg")
    file.write_bytes(file.read_bytes()[:400])
    return file


def npz_without_data(root: Path) -> Path:
    file = last_file(root, "point_cloud/LIDAR/*.npz")
    np.savez(file, points=np.zeros((3, 4), np.float32))
    return file


def npz_with_pickled_objects(root: Path) -> Path:
    file = last_file(root, "point_cloud/LIDAR/*.npz")
    buffer = io.BytesIO()
    np.savez(buffer, data=np.array([{"a": 1}], dtype=object))
    file.write_bytes(buffer.getvalue())
    return file


def nan_pose(root: Path) -> Path:
    file = next((root / "000000").glob("scene_*.json"))
    scene = json.loads(file.read_text())
    last = scene["samples"][-1]["datum_keys"]
    for datum in scene["data"]:
        if datum["key"] in last and "image" in datum["datum"]:
            datum["datum"]["image"]["pose"]["translation"]["x"] = float("nan")
    file.write_text(json.dumps(scene))
    return file


def calibration_without_a_camera(root: Path) -> Path:
    file = next((root / "000000").glob("calibration/*.json"))
    calibration = json.loads(file.read_text())
    at = calibration["names"].index("CAMERA_07")
    for values in calibration.values():
        del values[at]
    file.write_text(json.dumps(calibration))
    return file


@pytest.mark.parametrize(
    "damage", [truncated_jpeg, npz_without_data, npz_with_pickled_objects, nan_pose, calibration_without_a_camera]
)
def test_damaged_raw_data_is_named_and_the_cache_resumes(
    damage: Callable[[Path], Path], cache_world: Cli, tmp_path: Path
) -> None:
    raw = write_dgp_world(tmp_path / "raw", samples=3)
    assert cache_world(raw, tmp_path / "whole").exit_code == 0
    damaged = shutil.copytree(raw, tmp_path / "damaged")
    file = damage(damaged)
    message = one_line(cache_world(damaged, tmp_path / "zarr"))
    assert file.name in message
    shutil.rmtree(damaged)
    shutil.copytree(raw, damaged)
    assert cache_world(damaged, tmp_path / "zarr").exit_code == 0
    assert file_contents(tmp_path / "zarr") == file_contents(tmp_path / "whole")


def damaged_world(raw: Path) -> list[Path]:
    """Damage to files of two samples, in different shards and splits."""
    first = sorted((raw / "000000").glob("rgb/CAMERA_09/*.jpg"))[0]
    other = sorted((raw / "000001").glob("point_cloud/LIDAR/*.npz"))[1]
    first.write_bytes(first.read_bytes()[:400])
    other.write_bytes(b"damaged")
    return [first, other]


def test_all_damaged_files_are_named_at_once_and_their_samples_can_be_skipped(cache_world: Cli, tmp_path: Path) -> None:
    raw, cache, listed = write_dgp_world(tmp_path / "raw", samples=4), tmp_path / "zarr", tmp_path / "zarr.unusable.txt"
    damaged = damaged_world(raw)
    message = one_line(cache_world(raw, cache, "--check-files"))
    assert not cache.exists()
    assert "2 samples cannot be read: " in message
    assert all(str(path) in message for path in damaged)
    assert "nothing was written" in message
    names = [line for line in listed.read_text().splitlines() if not line.startswith("#")]
    assert names == ["000000/000000", "000001/000001"]
    listed.unlink()

    result = cache_world(raw, cache)
    message = one_line(result)
    assert re.findall(r"cache (\w+) .* (\d/\d)", result.stdout) == [("train", "2/4"), ("val", "2/4")], (
        "what failed is open"
    )
    assert all(str(path) in message for path in damaged)
    assert "what is finished is kept" in message
    assert f"their list for --skip-file is {listed}" in message
    assert sorted(path.name for path in (cache / ".fsmde/journal/train/frames").glob("0*.json")) == ["000001.json"]

    message = one_line(cache_world(raw, cache, "--skip-file", listed))
    assert "a split train of other samples: 4 rigs then, 3 now; none chosen or skipped then, skipped 000000/" in message
    assert "ask for the same as then (files, --skip, --skip-file, --limit), or use another --cache" in message
    assert not re.search("[0-9a-f]{13}", message)
    result = cache_world(raw, cache, "--skip-file", listed, "--overwrite")
    assert result.exit_code == 0, result.output
    assert "left out: 1 sample by name: 000000/000000" in result.output
    manifest = Cache(cache).manifest
    assert [manifest.splits[name].selection for name in ("train", "val")] == [
        {"skipped": ["000000/000000"]},
        {"skipped": ["000001/000001"]},
    ]
    assert "nothing to do" in cache_world(raw, cache, "--skip", "000000/000000", "--skip", "000001/000001").output


def test_a_repair_leaves_out_what_was_skipped(cache_world: Cli, cli: Cli, teacher: Path, tmp_path: Path) -> None:
    raw, cache = write_dgp_world(tmp_path / "raw", samples=3), tmp_path / "zarr"
    assert cache_world(raw, cache, "--skip", "000000/000001").exit_code == 0
    before = file_contents(cache)
    next(cache.glob("train/frames/image/c.*")).unlink()
    result = cli("verify", cache, "--repair", "--root", raw, "--teacher", f"tiny={teacher}", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert file_contents(cache) == before


def test_missing_files_are_skipped_by_name_or_refused_with_their_list(cache_world: Cli, tmp_path: Path) -> None:
    raw, cache = write_dgp_world(tmp_path / "raw", samples=3), tmp_path / "zarr"
    lost = last_file(raw, "rgb/CAMERA_09/*.jpg")
    lost.unlink()
    message = one_line(cache_world(raw, cache, "--on-missing", "fail"))
    assert f"000000 sample 000002 lacks CAMERA_09 (no file {lost.relative_to(raw)})" in message
    assert (tmp_path / "zarr.unusable.txt").read_text().splitlines()[1] == "000000/000002"
    result = cache_world(raw, cache)
    assert result.exit_code == 0, result.output
    assert f"skipped: 000000 sample 000002 lacks CAMERA_09 (no file {lost.relative_to(raw)})" in result.output
    again = last_file(raw, "rgb/CAMERA_09/*.jpg")
    again.unlink()
    message = one_line(cache_world(raw, cache))
    assert "of other samples: 2 rigs then, 1 now (2 incomplete ones left out: 000000 sample 000001 lacks" in message


@pytest.mark.parametrize("content", ["000000/000009\n", "nowhere\n", None])
def test_a_list_of_samples_to_skip_that_cannot_be_used(
    cache_world: Cli, world: Path, tmp_path: Path, content: str | None
) -> None:
    listed = tmp_path / "skip.txt"
    if content is not None:
        listed.write_text(content)
    message = one_line(cache_world(world, tmp_path / "zarr", "--skip-file", listed))
    assert (content.strip() if content else "cannot be read") in message
    assert not (tmp_path / "zarr").exists()


def test_missing_root(cache_world: Cli, tmp_path: Path) -> None:
    message = one_line(cache_world(tmp_path / "nowhere", tmp_path / "zarr"))
    assert "nowhere" in message
    assert not (tmp_path / "zarr").exists()


def test_unknown_teacher_without_a_network(
    cli: Cli, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    teacher = "nobody/has-this-teacher"
    message = one_line(
        cli("cache-teacher", "--dataset", "ddad", "--root", world, "--teacher", teacher, "--cache", tmp_path / "zarr")
    )
    assert teacher in message
    assert "local folder" in message or "save_pretrained" in message


def test_refused_missing_cameras(cache_world: Cli, world: Path, tmp_path: Path) -> None:
    message = one_line(cache_world(world, tmp_path / "zarr", "--on-missing", "fail"))
    assert "split 'train' has 3 incomplete samples (incomplete sample 000000 lacks CAMERA_07, " in message
    assert "--on-missing skip" in message


def test_cache_of_another_dataset(cache_world: Cli, world: Path, tmp_path: Path) -> None:
    write_tiny_cache(tmp_path / "zarr", splits=("train",))
    message = one_line(cache_world(world, tmp_path / "zarr"))
    assert "dataset.name: 'tiny' stored, 'ddad' asked" in message
    assert "another --cache" in message


def test_the_plan_refuses_what_the_run_would(cache_world: Cli, world: Path, tmp_path: Path) -> None:
    assert cache_world(world, tmp_path / "zarr").exit_code == 0
    message = one_line(cache_world(world, tmp_path / "zarr", "--height", "96", "--dry-run"))
    assert "image.height: 64 stored, 96 asked" in message


def test_reproduce_refuses_an_unknown_split_before_any_work(
    cli: Cli, world: Path, teacher: Path, tmp_path: Path
) -> None:
    message = one_line(cli("reproduce", "--root", world, "--teacher", teacher, "--out", tmp_path, "--split", "tset"))
    assert "'tset'" in message
    assert not (tmp_path / "zarr").exists()


def test_a_run_inside_the_cache(cli: Cli, tmp_path: Path) -> None:
    write_tiny_cache(tmp_path / "zarr")
    message = one_line(cli("train", "--cache", tmp_path / "zarr", "--run", tmp_path / "zarr" / "run", *TRAIN_SMALL))
    assert "inside the cache" in message


def test_cache_not_complete(cli: Cli, tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "zarr", dataset(), ImageSpec(height=64, width=96), code_version="test") as writer:
        writer.add_split("train", split_record(6))
    message = one_line(cli("train", "--cache", tmp_path / "zarr", "--run", tmp_path / "run", *TRAIN_SMALL))
    assert "is not complete" in message
    assert "fsmde cache-teacher" in message


def test_no_cache(cli: Cli, tmp_path: Path) -> None:
    for verb in (("train", "--run", tmp_path / "run"), ("evaluate",)):
        message = one_line(cli(*verb, "--cache", tmp_path / "nothing"))
        assert "no cache at" in message


def test_no_student_in_the_run(cli: Cli, tmp_path: Path) -> None:
    write_tiny_cache(tmp_path / "zarr")
    message = one_line(cli("evaluate", "--cache", tmp_path / "zarr", "--run", tmp_path / "run"))
    assert "fsmde train" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read"),
        ("name: mine\nrnge_m: [1, 2]\n", "did you mean 'range_m'"),
        ("name: mine\nrange_m: [60, 0.5]\n", "expected the lower end first"),
        ("name: native\nlike: network\n", "native"),
        ("name: [\n", "mine.yaml"),
    ],
)
def test_a_protocol_of_ones_own_that_cannot_be(
    cli: Cli, cache_world: Cli, world: Path, tmp_path: Path, content: str | None, expected: str
) -> None:
    assert cache_world(world, tmp_path / "zarr", "--limit", "1").exit_code == 0
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_text(content)
    message = one_line(cli("evaluate", "--cache", tmp_path / "zarr", "--protocol", "native", "--protocol", file))
    assert expected in message


def test_all_wrong_keys_at_once_each_with_the_nearest(cli: Cli, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("lossses: {}\noptimizer: {learning: 1}\nsteps: many\n")
    message = one_line(cli("train", "--cache", tmp_path, "--run", tmp_path / "run", "--config", settings))
    assert "unknown key 'lossses'; did you mean 'losses'?" in message
    assert "unknown key 'optimizer.learning'; known keys: lr, " in message
    assert "steps" in message
    assert "'many'" in message


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [("losses.cdk=1", "did you mean 'ckd'?"), ("losses", "key=value"), ("seed.x=1", "seed"), ("seed=[", "YAML")],
)
def test_wrong_assignments(cli: Cli, tmp_path: Path, assignment: str, expected: str) -> None:
    message = one_line(cli("train", "--cache", tmp_path, "--run", tmp_path / "run", "--set", assignment))
    assert expected in message


def test_a_config_file_that_is_not_settings(cli: Cli, tmp_path: Path) -> None:
    for content in ("- a\n- b\n", "{", b"\xff\xfe"):
        file = tmp_path / "settings.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        message = one_line(cli("train", "--cache", tmp_path, "--run", tmp_path / "run", "--config", file))
        assert "settings.yaml" in message


def test_unknown_device(cli: Cli, tmp_path: Path) -> None:
    write_tiny_cache(tmp_path / "zarr")
    message = one_line(cli("train", "--cache", tmp_path / "zarr", "--run", tmp_path / "run", "--device", "tpu9"))
    assert "'tpu9'" in message
    assert "--device cpu" in message


def test_the_traceback_is_there_for_those_who_ask(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSMDE_DEBUG", "1")
    result = cli("evaluate", "--cache", tmp_path / "nothing")
    assert type(result.exception).__name__ == "CacheMissingError"
