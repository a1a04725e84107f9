"""The example of docs/folder.md does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cache_schema import Cache
from pipeline.cli import app

PAGE = (Path(__file__).parents[1] / "docs" / "folder.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(line: str) -> Result:
    _, *arguments = shlex.split(line)
    small = ["--device", "cpu", "--workers", "0"] if arguments[0] == "train" else []
    result = CliRunner().invoke(app, [*arguments, *small])
    assert result.exit_code == 0, (line, result.output)
    return result


def test_the_example_becomes_a_cache_and_a_scored_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (script,), (commands,) = blocks("python"), blocks("bash")
    exec(compile(script, "docs/folder.md", "exec"), {})
    outputs = [run(line).output for line in re.sub(r"\\\n", " ", commands).strip().splitlines()]

    rig = Cache(tmp_path / "zarr-rooms").split("val")[1]
    above_floor = rig.lidar[0].uv_px[:, 1] < 45  # and below the horizon's row, 48
    np.testing.assert_allclose(rig.lidar[0].depth_m[above_floor].max(), 31 / 2 - 1.5, rtol=1e-5)
    assert min(len(view.depth_m) for view in rig.lidar) > 1000
    assert (tmp_path / "rooms.png").stat().st_size > 10_000
    assert "day, 2 rigs" in outputs[-1]
