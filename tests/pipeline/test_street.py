"""The embedded world from nothing to scores, as a person types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema import Cache
from stages.evaluate.prediction import Prediction, compare
from stages.evaluate.protocol import protocol
from stages.evaluate.scoring import Scorer
from stages.evaluate.truth import dense_truth
from tests.pipeline.conftest import SMALL, TRAIN_SMALL, Cli, one_line

STREET = (
    "--workers", "2", "--set", "train.towns=[3]", "--set", "train.rigs=2", "--set", "val.towns=[90000]",
    "--set", "val.rigs=2", "--set", "world.lidar_columns=360",
)  # fmt: skip


@pytest.fixture(scope="module")
def street(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street") / "street"
    made = cli("street", root, *STREET)
    assert made.exit_code == 0, made.output
    assert "4 rigs rendered now" in made.output
    assert "Next: fsmde cache-teacher --dataset ddad --root" in made.output
    return root


def test_the_sheet_shows_pictures_above_their_depth(cli: Cli, street: Path, tmp_path: Path) -> None:
    again = cli("street", street, *STREET, "--sheet", tmp_path / "sheet.png")
    assert "nothing to do" in again.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (6 * 160, 2 * 96)
        pictures, depth = np.split(np.asarray(sheet), 2)
    assert pictures.std() > 15
    assert 0.02 < (depth == 0).all(axis=2).mean() < 0.5, "sky and own car are black"


def test_a_sheet_that_would_be_no_picture_is_refused_before_anything_is_made(cli: Cli, tmp_path: Path) -> None:
    refused = cli("street", tmp_path / "street", *STREET, "--sheet", tmp_path / "sheet.pdf")
    assert refused.exit_code != 0
    assert ".png or .jpg" in one_line(refused)
    assert not (tmp_path / "street").exists()


@pytest.fixture(scope="module")
def cache(cli: Cli, street: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "zarr"
    cached = cli(*cache_street(street, teacher, path))
    assert cached.exit_code == 0, cached.output
    assert "dense depth" in cached.output
    return path


def cache_street(street: Path, teacher: Path, path: Path, *more: str) -> list[str | Path]:
    root = ("--root", street, "--ego-masks", street / "masks")
    return ["cache-teacher", "--dataset", "ddad", *root, "--teacher", teacher, "--cache", path, *SMALL, *more]


def test_dense_depth_and_lidar_in_the_cache_agree(cache: Path) -> None:
    frames = Cache(cache).split("val")
    for index in range(len(frames)):
        dense_m, rig = frames.dense_depth(index), frames[index]
        for view, points in enumerate(rig.lidar):
            u, v = points.uv_px.T
            seen = dense_m[view][v, u]
            known = seen > 0
            assert np.median(np.abs(points.depth_m - seen)[known] / seen[known]) < 0.01
        assert not rig.ego_mask.all()


def test_true_depth_is_consistent_between_cameras(cache: Path) -> None:
    opened, frames = Cache(cache), Cache(cache).split("val")
    dataset = opened.manifest.dataset
    by = protocol("native", dataset)
    scorer = Scorer("truth", "metric", dataset.cameras, by, truth="dense", pairs=dataset.adjacent_pairs)
    for index in range(len(frames)):
        truth = dense_truth(dense_m := frames.dense_depth(index), frames[index], by, dataset)
        true = Prediction(np.where(dense_m > 0, dense_m, np.float32(200)), dataset.native_size, 200.0)
        scorer.add(compare(true, truth), truth)
    assert scorer.scores()[0].mean.metrics["abs_rel"] == 0
    found = scorer.cross_view_scores()[0].consistency_mean
    assert found.points > 10_000
    assert found.metrics["rel"] is not None
    assert found.metrics["rel"] < 0.03, "only at edges of surfaces, where depths are interpolated"


def test_scores_say_which_truth_they_are_against(cli: Cli, cache: Path, tmp_path: Path) -> None:
    assert cli("train", "--cache", cache, "--run", tmp_path / "run", *TRAIN_SMALL).exit_code == 0
    scored = cli("evaluate", "--cache", cache, "--run", tmp_path / "run", "--device", "cpu")
    assert scored.exit_code == 0, scored.output
    for heading in ("at LiDAR points", "at dense depth", "where views overlap"):
        assert heading in scored.output
    assert all(len(line) <= 80 for line in scored.output.splitlines() if "0." in line), "tables fit a terminal"
    result = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for part, truth in (("scores", "lidar"), ("dense_scores", "dense")):
        subjects = [(s["subject"], s["scaling"], s["truth"]) for s in result[part]]
        assert subjects == [
            (subject, scaling, truth)
            for subject in ("student", "teacher tiny", "teacher tiny, median only")
            for scaling in ("none", "median_image", "median_rig")
        ]
    points = result["scores"][0]["mean"]["points"], result["dense_scores"][0]["mean"]["points"]
    assert points[0] < points[1] <= 2 * 6 * 96 * 160
    assert {(s["subject"], s["truth"]) for s in result["cross_view"]} == {
        (subject, truth)
        for subject in ("student", "teacher tiny", "teacher tiny, median only")
        for truth in ("lidar", "dense")
    }
    pairs = result["cross_view"][0]["consistency"]
    assert len(pairs) == 6
    assert all(score["images"] == 2 for score in pairs.values()), "all neighbours overlap"


def test_dense_depth_may_be_left_out(cli: Cli, street: Path, teacher: Path, tmp_path: Path) -> None:
    cached = cli(*cache_street(street, teacher, tmp_path / "zarr", "--no-dense-depth", "--split", "val"))
    assert cached.exit_code == 0, cached.output
    assert not Cache(tmp_path / "zarr").manifest.splits["val"].dense_depth
    scored = cli("evaluate", "--cache", tmp_path / "zarr", "--device", "cpu")
    assert scored.exit_code == 0, scored.output
    assert "at dense depth" not in scored.output


def test_the_plan_knows_how_large_it_becomes(cli: Cli, street: Path, teacher: Path, tmp_path: Path) -> None:
    planned = cli(*cache_street(street, teacher, tmp_path / "zarr", "--dry-run"))
    assert planned.exit_code == 0, planned.output
    assert "frames/dense_depth" in planned.output


def test_a_lost_shard_of_dense_depth_is_mended(
    cli: Cli, cache: Path, street: Path, teacher: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(cache, tmp_path / "zarr")
    lost = copy / "train/frames/dense_depth/c.0.0.0.0"
    before = lost.read_bytes()
    lost.unlink()
    assert cli("verify", copy).exit_code == 4
    mended = cli(
        "verify", copy, "--repair", "--root", street, "--ego-masks", street / "masks", "--teacher", f"tiny={teacher}"
    )
    assert mended.exit_code == 0, mended.output
    assert lost.read_bytes() == before


def test_dense_depth_that_is_not_there_is_refused(cache_world: Cli, world: Path, tmp_path: Path) -> None:
    asked = cache_world(world, tmp_path / "zarr", "--dense-depth")
    assert "split train of" in one_line(asked)
    assert "has no dense depth for 000000 sample 000000; leave out --dense-depth" in one_line(asked)


def test_a_damaged_depth_map_is_one_line(cli: Cli, street: Path, teacher: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(street, tmp_path / "street")
    path = next((copy / "090000/depth/CAMERA_05").iterdir())
    path.write_bytes(path.read_bytes()[:-40])
    assert f"{path}: is not a depth map" in one_line(
        cli(*cache_street(copy, teacher, tmp_path / "zarr", "--split", "val"))
    )
