"""What is sent to Rerun: every camera, every subject, at the places where they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import Cli, one_line

pytest.importorskip("rerun", reason="needs the extra viz")

RERUN = (sys.executable, "-m", "rerun", "rrd")


def test_a_recording_holds_every_camera_and_subject(cli: Cli, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "seen.rrd"
    result = cli(
        "view", "--cache", trained / "zarr", "--run", trained / "run", "--rig", "0", "--rig", "2", "--save", file,
        "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"rerun {file}" in result.output
    assert subprocess.run([*RERUN, "verify", file], capture_output=True, check=False).returncode == 0
    printed = subprocess.run([*RERUN, "print", file], capture_output=True, text=True, check=True).stdout
    for camera in ("CAMERA_01", "CAMERA_05", "CAMERA_06", "CAMERA_07", "CAMERA_08", "CAMERA_09"):
        for entity in ("", "/image", "/lidar", "/student", "/teacher\\ tiny", "/image/student"):
            assert f"/rig/{camera}{entity} " in printed, (camera, entity)


def test_a_rig_that_there_is_not(cli: Cli, trained: Path, tmp_path: Path) -> None:
    message = one_line(cli("view", "--cache", trained / "zarr", "--rig", "99", "--save", tmp_path / "x.rrd"))
    assert "has no rig 99; expected 0 to 2" in message


def test_a_split_that_there_is_not(cli: Cli, trained: Path, tmp_path: Path) -> None:
    options = ("--cache", trained / "zarr", "--split", "test", "--save", tmp_path / "x.rrd")
    assert "has no split 'test'" in one_line(cli("view", *options))
