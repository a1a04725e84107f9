"""A dataset is generated once, in any number of processes and attempts, to the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cache_schema.errors import ConfigError, DatasetError
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.datasets.street.generate import execute, plan
from stages.cache_teacher.datasets.street.spec import StreetSpec
from stages.progress import Silent

TINY: dict[str, Any] = {
    "train": {"towns": [3, 4], "rigs": 2},
    "val": {"towns": [90_000], "rigs": 1},
    "world": {"height": 48, "width": 80, "lidar_columns": 240},
}


def spec(**changes: Any) -> StreetSpec:
    return StreetSpec.model_validate(TINY | changes)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street") / "street"
    assert execute(plan(spec(), root, workers=1), Silent()) == 5
    return root


def test_a_dataset_may_have_one_split_alone(tmp_path: Path) -> None:
    alone = spec(train=None)
    assert list(alone.splits) == ["val"]
    assert plan(alone, tmp_path).rigs == 1
    assert alone.version != spec().version
    with pytest.raises(ValidationError, match="expected towns for one of them"):
        spec(train=None, val=None)


def test_the_dataset_has_what_the_spec_says(street: Path) -> None:
    dataset = DdadDataset(street)
    assert [(ref.scene, ref.sample) for ref in dataset.samples("train")] == [
        ("000003", "000000"), ("000003", "000001"), ("000004", "000000"), ("000004", "000001"),
    ]  # fmt: skip
    assert [ref.scene for ref in dataset.samples("val")] == ["090000"]
    assert dataset.version == spec().version
    assert dataset.load("val", dataset.samples("val")[0]).images[0].shape == (48, 80, 3)


def test_other_processes_write_the_same_bytes(street: Path, tmp_path: Path) -> None:
    execute(plan(spec(), tmp_path / "street", workers=2), Silent())
    assert contents(tmp_path / "street") == contents(street)


def test_a_finished_dataset_is_left_alone(street: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in street.rglob("*")}
    made = plan(spec(), street)
    assert made.complete
    assert execute(made, Silent()) == 0
    assert {path: path.stat().st_mtime_ns for path in street.rglob("*")} == before


def test_a_lost_town_is_rendered_again(street: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(street, tmp_path / "street")
    shutil.rmtree(copy / "000004")
    made = plan(spec(), copy, workers=1)
    assert (made.pending, made.rigs_done) == ((4,), 3)
    assert execute(made, Silent()) == 2
    assert contents(copy) == contents(street)


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_an_interrupted_run_goes_on_to_the_same_bytes(street: Path, tmp_path: Path, how: signal.Signals) -> None:
    root = tmp_path / "street"
    fsmde = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    settings = [f"--set={split}.{key}={value}" for split in ("train", "val") for key, value in TINY[split].items()]
    settings += [f"--set=world.{key}={value}" for key, value in TINY["world"].items()]
    with subprocess.Popen(
        [*fsmde, "street", str(root), "--workers", "1", *settings],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not (root / "000003").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    assert (root / "000003").is_dir()
    assert not (root / "ddad.json").exists(), "what is not whole cannot be read"
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        assert "run the same command again" in said
        assert len(said.strip().splitlines()) == 1
    made = plan(spec(), root, workers=1)
    assert made.rigs_done >= 2
    execute(made, Silent())
    assert contents(root) == contents(street)


def test_another_spec_is_refused_by_the_name_of_the_field(street: Path) -> None:
    with pytest.raises(DatasetError, match=r"differs in train\.rigs: 2 stored, 3 asked; use another folder"):
        plan(spec(train={"towns": [3, 4], "rigs": 3}), street)
    with pytest.raises(DatasetError, match=r"world\.lidar_beams: 16 stored, 64 asked"):
        plan(spec(world={**TINY["world"], "lidar_beams": 64}), street)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DatasetError, match=r"holds thesis\.tex but no street\.json; expected an empty folder"):
        plan(spec(), tmp_path)


def test_a_second_writer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".street.lock"), pytest.raises(DatasetError, match="another process is writing"):
        execute(plan(spec(), tmp_path, workers=1), Silent())


def test_a_drive_out_of_town_is_one_error_and_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="town 3 cannot be driven through as asked"):
        execute(plan(spec(train={"towns": [3], "rigs": 999}), tmp_path, workers=1), Silent())
    plan(spec(), tmp_path)


def test_a_spec_is_checked() -> None:
    with pytest.raises(ValueError, match="town 3 is listed twice"):
        spec(val={"towns": [3], "rigs": 1})
    with pytest.raises(ValueError, match="town 100000 is not one of datasets"):
        spec(val={"towns": [100_000], "rigs": 1})
    with pytest.raises(ValueError, match="Extra inputs"):
        spec(town=3)


def test_towns_may_be_ranges() -> None:
    assert spec(val={"towns": "7-9, 90000", "rigs": 1}).val.towns == (7, 8, 9, 90_000)
    assert spec(val={"towns": ["5-6", 12], "rigs": 1}).version == spec(val={"towns": [5, 6, 12], "rigs": 1}).version
    for wrong in ("9-7", "0-100000", "7-"):
        with pytest.raises(ValueError, match=r"ascending, up to 99999|valid integer"):
            spec(val={"towns": wrong, "rigs": 1})


def test_a_preset_fills_what_is_not_given() -> None:
    large = StreetSpec.model_validate({"size": "large", "train": {"rigs": 5}})
    assert (large.world.height, large.world.width) == (384, 640)
    assert (large.train.rigs, len(large.train.towns)) == (5, 50)
    assert StreetSpec.model_validate({}).world.height == 96
    assert StreetSpec.model_validate_json(large.model_dump_json()) == large
