"""One real rig, learned by heart: the proof that geometry, masks and losses agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipeline.conftest import Cli
from tests.real_data import real_data


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("losses", [("losses.ckd=0", "losses.view_relation=0"), ()], ids=["lidar", "ckd_vrkd"])
def test_one_real_rig_is_learned_by_heart(cli: Cli, teacher: Path, tmp_path: Path, losses: tuple[str, ...]) -> None:
    """AbsRel < 0.10 at native LiDAR points after 300 steps at 192 × 320, with default settings.

    The teacher of the second case has random weights: the student must learn the scale in spite of it.
    """
    root, masks = real_data("ddad_sample"), real_data("masks", "ddad_group_0")
    cached = cli(
        "cache-teacher", "--dataset", "ddad", "--root", root, "--teacher", teacher, "--cache", tmp_path / "zarr",
        "--ego-masks", masks, "--height", "192", "--width", "320", "--split", "train", "--limit", "1",
    )  # fmt: skip
    assert cached.exit_code == 0, cached.output
    run = ("--cache", tmp_path / "zarr", "--run", tmp_path / "run", "--split", "train")
    settings = [argument for setting in losses for argument in ("--set", setting)]
    trained = cli("train", *run, "--steps", "300", "--batch-rigs", "1", "--workers", "0", *settings)
    assert trained.exit_code == 0, trained.output
    assert cli("evaluate", *run).exit_code == 0
    student = json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"][0]
    abs_rel = student["mean"]["metrics"]["abs_rel"]
    print(f"\nAbsRel on the one rig after 300 steps: {abs_rel:.4f}")
    assert abs_rel < 0.10
