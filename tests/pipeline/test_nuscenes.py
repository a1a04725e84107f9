"""nuScenes from raw data to scores, as a person types it."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Cache
from tests.nuscenes_world import KEYFRAMES, VERSION, write_nuscenes_world
from tests.pipeline.conftest import SMALL, TRAIN_SMALL, Cli, one_line
from tests.real_data import real_data

needs_devkit = pytest.mark.skipif(find_spec("nuscenes") is None, reason="needs nuscenes-devkit: make test-nuscenes")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes_world(tmp_path_factory.mktemp("nuscenes") / "world")


@pytest.fixture(scope="module")
def cache_nuscenes(cli: Cli, teacher: Path) -> Cli:
    """`fsmde cache-teacher` on a small scale: root, cache, further arguments."""

    def run(root: Path, cache: Path, *more: str | Path) -> object:
        words = ("cache-teacher", "--dataset", "nuscenes", "--root", root, "--teacher", teacher, "--cache", cache)
        return cli(*words, *SMALL, *more)

    return run  # type: ignore[return-value]


def test_without_the_devkit_the_error_says_what_to_install(
    cache_nuscenes: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if ".nuscenes." in f".{name}."]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "nuscenes", None)
    assert "make setup-nuscenes" in one_line(cache_nuscenes(tmp_path, tmp_path / "zarr"))


def test_its_options_are_refused_for_another_dataset(cli: Cli, tmp_path: Path) -> None:
    common = ("cache-teacher", "--dataset", "ddad", "--root", tmp_path, "--teacher", "x")
    refused = cli(*common, "--sweeps", "3")
    assert "--sweeps: for --dataset nuscenes, not for ddad" in one_line(refused)
    refused = cli(*common, "--without-lidar", "--frames", "sweeps", "--set", "nuscenes.spread_s=1")
    assert "--frames, nuscenes.spread_s: for --dataset nuscenes, not for ddad" in one_line(refused)


@needs_devkit
def test_the_whole_chain(cli: Cli, cache_nuscenes: Cli, root: Path, tmp_path: Path) -> None:
    cache, run = tmp_path / "zarr", tmp_path / "run"
    made = cache_nuscenes(root, cache, "--sweeps", "3", "--static-below", "0.01")
    assert made.exit_code == 0, made.output
    assert f"dataset  nuscenes {VERSION}" in made.output
    assert "CAM_FRONT → CAM_FRONT_LEFT → CAM_BACK_LEFT → CAM_BACK → CAM_BACK_RIGHT → CAM_FRONT_RIGHT" in made.output
    assert "left out: 0 where the car moves less than 0.01 m" in made.output
    records = Cache(cache).manifest.splits
    assert (records["train"].lidar_sweeps, records["val"].lidar_sweeps) == (3, 1)
    assert (records["train"].selection, records["val"].selection) == ({"static_below_m": 0.01}, {})
    assert records["val"].rigs == 2 * KEYFRAMES

    looked = cli("inspect", cache).output
    assert "LiDAR of up to 3 sweeps; static_below_m 0.01" in looked
    assert f"scene-0916 ({KEYFRAMES} rigs, night, rain)" in looked

    moved = root.rename(tmp_path / "elsewhere")
    trained = cli("train", "--cache", cache, "--run", run, *TRAIN_SMALL)
    assert trained.exit_code == 0, trained.output
    scored = cli("evaluate", "--cache", cache, "--run", run, "--device", "cpu")
    again = cli("evaluate", "--cache", cache, "--run", run, "--device", "cpu", "--protocol", "network")
    assert again.exit_code == 0, again.output
    assert json.loads((run / "metrics-network.json").read_text())["protocol"]["range_m"] == [0.0, 80.0]
    moved.rename(root)
    assert scored.exit_code == 0, scored.output
    assert "student by condition" in scored.output
    result = json.loads((run / "metrics.json").read_text())
    assert result["protocol"]["range_m"] == [0.1, 80.0]
    assert result["dataset"] == "nuscenes"
    student = [s for s in result["parts"] if (s["subject"], s["kind"]) == ("student", "condition")]
    assert {s["part"]: s["rigs"] for s in student} == {"day": 3, "dry": 3, "night": 3, "rain": 3}
    assert all(np.isfinite(s["metrics"]["abs_rel"]) for s in student)


@needs_devkit
def test_what_lies_between_keyframes_teaches_beside_them(
    cli: Cli, cache_nuscenes: Cli, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    root = write_nuscenes_world(tmp_path_factory.mktemp("filmed") / "world", images_between=True)
    keyframes, between = tmp_path / "keyframes", tmp_path / "between"
    assert cache_nuscenes(root, keyframes).exit_code == 0
    words = ("--frames", "sweeps", "--split", "train")
    assert "pass --without-lidar" in one_line(cache_nuscenes(root, between, *words))
    made = cache_nuscenes(root, between, *words, "--without-lidar")
    assert made.exit_code == 0, made.output
    assert "left out: 0 whose images are over 0.1 s apart; of the others up to 0.0" in made.output
    assert "frames sweeps; spread_s 0.1" in " ".join(cli("inspect", between).output.split())
    lost = next(path for path in sorted((between / "train/frames").rglob("c.*")))
    before = lost.read_bytes()
    lost.unlink()
    mended = cli("verify", between, "--repair", "--root", root)
    assert mended.exit_code == 0, mended.output
    assert lost.read_bytes() == before
    more = ("--unlabelled", between, "--run", tmp_path / "run")
    trained = cli("train", "--cache", keyframes, *TRAIN_SMALL, *more)
    assert trained.exit_code == 0, trained.output
    assert f"without  LiDAR: {between}, split train, {2 * KEYFRAMES} rigs" in trained.output


@needs_devkit
def test_several_processes_write_the_bytes_of_one(cache_nuscenes: Cli, root: Path, tmp_path: Path) -> None:
    for name, more in (("one", ()), ("two", ("--workers", "2"))):
        made = cache_nuscenes(root, tmp_path / name, *more)
        assert made.exit_code == 0, made.output
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("c.*")) for n in ("one", "two")]
    assert files[0] == files[1]
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files[0])


@needs_devkit
def test_a_lost_shard_is_mended_with_what_chose_the_samples(
    cli: Cli, cache_nuscenes: Cli, root: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.txt"
    samples = json.loads((root / VERSION / "sample.json").read_text())
    tokens.write_text("\n".join(sample["token"] for sample in samples[1:]))
    cache = tmp_path / "zarr"
    made = cache_nuscenes(root, cache, "--tokens", tokens, "--sweeps", "2", "--split", "train")
    assert made.exit_code == 0, made.output
    assert f"left out: 1 that {tokens} does not name" in made.output
    lost = cache / "train/frames/lidar_depth/c.0.0"
    before = lost.read_bytes()
    lost.unlink()
    assert "pass the list with --tokens" in one_line(cli("verify", cache, "--repair", "--root", root))
    mended = cli("verify", cache, "--repair", "--root", root, "--tokens", tokens)
    assert mended.exit_code == 0, mended.output
    assert lost.read_bytes() == before


@needs_devkit
def test_a_list_that_names_none_of_a_split(cache_nuscenes: Cli, root: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.txt"
    tokens.write_text(json.loads((root / VERSION / "sample.json").read_text())[0]["token"])
    refused = one_line(cache_nuscenes(root, tmp_path / "zarr", "--tokens", tokens))
    assert "split val" in refused
    assert f"left out: {2 * KEYFRAMES} that {tokens} does not name" in refused


@needs_devkit
@pytest.mark.real_data
def test_the_chain_on_a_real_keyframe(cli: Cli, cache_nuscenes: Cli, tmp_path: Path) -> None:
    cache, run = tmp_path / "zarr", tmp_path / "run"
    masks = ("--ego-masks", real_data("masks", "nuscenes"))
    made = cache_nuscenes(real_data("nuscenes_sample"), cache, *masks)
    assert made.exit_code == 0, made.output
    assert "val      none of its scenes is here" in made.output
    assert "LiDAR points of its first rig: CAM_FRONT 3052, CAM_FRONT_LEFT" in made.output
    rig = Cache(cache).split("train")[0]
    assert Cache(cache).manifest.dataset.native_size == (900, 1600)
    assert (~rig.ego_mask).any(axis=(1, 2)).any(), "some camera sees the own car"
    assert len(rig.lidar[0].depth_m) == 3052, "distinct pixels that the devkit's points round to"
    trained = cli("train", "--cache", cache, "--run", run, *TRAIN_SMALL)
    assert trained.exit_code == 0, trained.output
    assert f"Next: fsmde evaluate --cache {cache} --run {run} --split train\n" in trained.output
    scored = cli("evaluate", "--cache", cache, "--run", run, "--split", "train", "--device", "cpu")
    assert scored.exit_code == 0, scored.output
    result = json.loads((run / "metrics-train.json").read_text())
    assert result["scores"][0]["mean"]["images"] == 6
