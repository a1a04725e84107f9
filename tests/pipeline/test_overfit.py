"""One real rig, learned by heart: the proof that geometry, masks and losses agree."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stages.evaluate.config import EvaluateConfig
from stages.evaluate.execute import execute
from stages.evaluate.plan import plan
from stages.progress import Silent
from tests.pipeline.conftest import Cli
from tests.real_data import real_data

LIDAR_ONLY = ("--set", "losses.ckd=0", "--set", "losses.view_relation=0")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("masked", [False, True], ids=["every point", "own car masked"])
@pytest.mark.parametrize("losses", [LIDAR_ONLY, ()], ids=["LiDAR only", "CKD and VRKD"])
def test_one_real_rig_is_learned_by_heart(
    cli: Cli, teacher: Path, tmp_path: Path, losses: tuple[str, ...], masked: bool
) -> None:
    """AbsRel < 0.10 at LiDAR points after 300 steps at 192 × 320, with default settings.

    The LiDAR looks over the own car and sees road that the cameras do not, so with ego masks those points are
    neither learned nor scored. The teacher has random weights: the student must learn the scale in spite of it.
    """
    masks = ("--ego-masks", real_data("masks", "ddad_group_0")) if masked else ()
    cached = cli(
        "cache-teacher", "--dataset", "ddad", "--root", real_data("ddad_sample"), "--teacher", teacher,
        "--cache", tmp_path / "zarr", "--height", "192", "--width", "320", "--split", "train", "--limit", "1", *masks,
    )  # fmt: skip
    assert cached.exit_code == 0, cached.output
    run = ("--cache", tmp_path / "zarr", "--run", tmp_path / "run", "--split", "train")
    trained = cli("train", *run, "--steps", "300", "--batch-rigs", "1", "--workers", "0", *losses)
    assert trained.exit_code == 0, trained.output
    made = plan(EvaluateConfig(cache=tmp_path / "zarr", run=tmp_path / "run", split="train"))
    protocol = made.protocols[0].model_copy(update={"ego_mask": masked})
    (scored,) = execute(dataclasses.replace(made, protocols=(protocol,)), Silent(), code_version="test")
    abs_rel = scored.scores[0].mean.metrics["abs_rel"]
    assert abs_rel is not None
    print(f"\nAbsRel on the one rig after 300 steps: {abs_rel:.4f}")
    assert abs_rel < 0.10
