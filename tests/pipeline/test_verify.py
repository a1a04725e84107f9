"""`fsmde verify` and `fsmde inspect`: what a person and a script see, and that a repair restores the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema import Cache
from cache_schema.errors import CacheCorruptError
from pipeline.commands import verify
from stages.wording import size
from tests.cache_schema.test_verify import flip, look
from tests.dgp_world import write_dgp_world
from tests.pipeline.conftest import Cli, one_line
from tests.pipeline.test_bad_input import last_file
from tests.pipeline.test_chain import file_contents
from tests.tiny_cache import write_tiny_cache

SOUND, INCOMPLETE, DAMAGED = 0, 3, 4


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    mask = np.full((96, 160), 255, np.uint8)
    mask[70:] = 0
    Image.fromarray(mask).save(folder / "CAMERA_05_mask.png")
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("raw") / "world", samples=3)


@pytest.fixture(scope="module")
def sound(raw: Path, masks: Path, cache_world: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits, ego masks, and two teachers of the same network under different names and settings.

    The second with its features, whose deviations view_relation compares.
    """
    path = tmp_path_factory.mktemp("sound") / "zarr"
    assert cache_world(raw, path, "--ego-masks", masks).exit_code == 0
    second = ("--teacher-name", "second", "--encoding", "topk", "--no-flip", "--split", "train")
    settings = ("--set", "targets.features=true", "--set", "targets.normalisation=median")
    assert cache_world(raw, path, "--ego-masks", masks, *second, *settings).exit_code == 0
    return path


@pytest.fixture
def cache(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "zarr")


@pytest.fixture
def sources(raw: Path, masks: Path, teacher: Path) -> tuple[str | Path, ...]:
    teachers = ("--teacher", f"tiny={teacher}", "--teacher", f"second={teacher}")
    return ("--root", raw, "--ego-masks", masks, *teachers, "--device", "cpu")


def test_sound(sound: Path, cli: Cli) -> None:
    result = cli("verify", sound)
    assert result.exit_code == SOUND, result.output
    assert "sound" in result.output


def test_not_complete(cache: Path, cache_world: Cli, cli: Cli, raw: Path, masks: Path, tmp_path: Path) -> None:
    interrupted = shutil.copytree(raw, tmp_path / "raw")
    image = last_file(interrupted, "rgb/CAMERA_09/*.jpg")
    image.write_bytes(image.read_bytes()[:-100])
    third = ("--ego-masks", masks, "--teacher-name", "third", "--split", "train", "--no-flip")
    assert "CAMERA_09" in one_line(cache_world(interrupted, cache, *third))
    result = cli("verify", cache)
    assert result.exit_code == INCOMPLETE, result.output
    assert "not complete yet  train/teachers/third" in result.output


def test_damage_and_repair(cache: Path, sound: Path, cli: Cli, sources: tuple[str | Path, ...]) -> None:
    (cache / "train/frames/lidar_uv/c.1.0.0").unlink()
    flip(cache / "val/frames/image/c.0.0", np.random.default_rng(0))
    flip(cache / "train/teachers/second/bin_index/c.0.0.0.0.0", np.random.default_rng(0))
    flip(cache / "train/frames/ego_mask/c.0.0.0", np.random.default_rng(0))
    (cache / "train/teachers/tiny/zarr.json").unlink()
    (cache / ".fsmde/journal/val/teachers/tiny/000001.json").write_text("{")
    (cache / "zarr.json").write_text("{")
    found = cli("verify", cache)
    assert found.exit_code == DAMAGED, found.output
    for named in (
        "lidar_uv/c.1.0.0 rigs 2..3",
        "val/frames/image",
        "bin_index",
        "ego_mask",
        "000001.json",
        "zarr.json",
    ):
        assert named in found.output
    report = json.loads(cli("verify", cache, "--json").stdout)
    assert len(report["damages"]) == 7
    mended = cli("verify", cache, "--repair", *sources)
    assert mended.exit_code == SOUND, mended.output
    assert file_contents(cache) == file_contents(sound)


def test_a_repair_that_lacks_a_source_changes_nothing(cache: Path, cli: Cli, sources: tuple[str | Path, ...]) -> None:
    (cache / "train/teachers/tiny/bin_mean/c.0.0.0.0").unlink()
    before = file_contents(cache)
    assert "--root" in one_line(cli("verify", cache, "--repair"))
    assert "--ego-masks" in one_line(cli("verify", cache, "--repair", *sources[:2]))
    assert "--teacher tiny=DIR" in one_line(cli("verify", cache, "--repair", *sources[:4]))
    assert file_contents(cache) == before


def test_a_source_that_cannot_be_used_is_known_before_the_cache_is_read(
    cache: Path, cli: Cli, raw: Path, masks: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        pytest.fail("the cache is read")

    monkeypatch.setattr(verify, "_verify", never)
    other = write_dgp_world(tmp_path / "raw", samples=1)
    (other / "ddad.json").write_text((other / "ddad.json").read_text().replace('"version": "1"', '"version": "2"'))
    everywhere = shutil.copytree(masks, tmp_path / "masks")
    shutil.copy(everywhere / "CAMERA_05_mask.png", everywhere / "CAMERA_06_mask.png")
    with_masks = ("--ego-masks", masks)
    for arguments, named in (
        (("--root", tmp_path / "nowhere", *with_masks), "nowhere"),
        (("--root", other, *with_masks), "is not the dataset of the cache: version: '1' stored, '2' asked"),
        (("--root", raw), "pass their folder with --ego-masks"),
        (("--ego-masks", tmp_path / "nowhere"), "nowhere"),
        (("--ego-masks", everywhere), "are not those of the cache"),
        (("--teacher", f"tiny={teacher}"), "--root"),
        (("--root", raw, *with_masks, "--teacher", f"tinny={teacher}"), "no teacher 'tinny'"),
        (("--root", raw, *with_masks, "--teacher", f"tiny={tmp_path / 'nowhere'}"), "nowhere"),
        (("--root", raw, *with_masks, "--teacher", "tiny"), "not of the form NAME=FOLDER"),
        (("--device", "tpu9"), "--device cpu"),
    ):
        assert named in one_line(cli("verify", cache, "--repair", *arguments))


def test_raw_data_that_stage_1_does_not_read(cli: Cli, raw: Path, tmp_path: Path) -> None:
    write_tiny_cache(tmp_path / "zarr", splits=("train",))
    message = one_line(cli("verify", tmp_path / "zarr", "--repair", "--root", raw))
    assert "'tiny', expected one of ddad" in message


def test_a_teacher_that_is_another_does_not_mend(
    cache: Path, cli: Cli, sources: tuple[str | Path, ...], tmp_path: Path, teacher: Path
) -> None:
    (cache / "train/teachers/tiny/bin_mean/c.0.0.0.0").unlink()
    other = shutil.copytree(teacher, tmp_path / "tiny")
    settings = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.1, 0.2, 0.3]}))
    before = file_contents(cache)
    message = one_line(cli("verify", cache, "--repair", *sources[:4], "--teacher", f"tiny={other}", "--device", "cpu"))
    assert "image_mean" in message
    assert file_contents(cache) == before


def flip_and_mend(cache: Path, sound: Path, cli: Cli, sources: tuple[str | Path, ...], flips: int) -> tuple[int, int]:
    """Flip bits of array files one at a time, read and verify each; then all at once, and repair."""
    files = sorted(file for file in cache.rglob("c.*") if file.is_file())
    rng = np.random.default_rng(flips)
    verified = read = 0
    chosen = [files[i] for i in rng.integers(len(files), size=flips)]
    for file in chosen:
        clean = file.read_bytes()
        flip(file, rng)
        verified += any(damage.file == str(file.relative_to(cache)) for damage in look(cache).damages)
        read += refused(cache, file)
        file.write_bytes(clean)
    for file in set(chosen):
        flip(file, rng)
    mended = cli("verify", cache, "--repair", *sources)
    assert mended.exit_code == SOUND, mended.output
    assert file_contents(cache) == file_contents(sound)
    return verified, read


def refused(cache: Path, file: Path) -> bool:
    """Whether reading every rig of the file's split raises the error for damage."""
    opened, (split, group, *_) = Cache(cache), file.relative_to(cache).parts
    teachers = [file.relative_to(cache).parts[2]] if group == "teachers" else []
    try:
        for i in range(len(opened.split(split))):
            if teachers:
                channels = opened.manifest.teachers[teachers[0]].targets.feature_channels
                opened.targets(split, teachers[0], features=channels > 0, raw_scale=True)[i]
            else:
                opened.split(split)[i]
    except CacheCorruptError:
        return True
    return False


def test_flipped_bits_are_found_refused_and_mended(
    cache: Path, sound: Path, cli: Cli, sources: tuple[str | Path, ...]
) -> None:
    assert flip_and_mend(cache, sound, cli, sources, 40) == (40, 40)


@pytest.mark.slow
def test_500_flipped_bits_are_found_refused_and_mended(
    cache: Path, sound: Path, cli: Cli, sources: tuple[str | Path, ...]
) -> None:
    verified, read = flip_and_mend(cache, sound, cli, sources, 500)
    print(f"\n500 flipped bits: {verified} found by verify, {read} refused when read; repaired to the same bytes")
    assert (verified, read) == (500, 500)


def test_the_view_relation_is_that_of_the_features_less_their_mean(sound: Path) -> None:
    cache = Cache(sound)
    assert cache.manifest.teachers["second"].targets.feature_channels == 32
    stored = cache.targets("train", "second", features=True)[1]
    tokens = stored.feature.astype(np.float32)
    unit = tokens - tokens.mean(axis=(0, 1))
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    for relation, (i, j) in zip(stored.view_relation, cache.manifest.dataset.adjacent_pairs, strict=True):
        np.testing.assert_allclose(relation, unit[i] @ unit[j].T, atol=3e-3)


def test_inspect(sound: Path, cli: Cli, tmp_path: Path) -> None:
    result = cli("inspect", sound, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    for named in (
        "CAMERA_01",
        "second",
        "topk, u by median",
        "feature",
        "lidar_depth",
        "000000 (3 rigs)",
        "–: rigs fill the array to different",
    ):
        assert named in result.output
    assert "train: 3 rigs; frames complete; teacher tiny complete; teacher second complete" in result.output
    assert "val: 3 rigs; frames complete; teacher tiny complete; teacher second not begun" in result.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
    summary = json.loads(cli("inspect", sound, "--json").stdout)
    stored = {f"{g['split']}/{g['teacher']}": sum(a["bytes_stored"] for a in g["arrays"]) for g in summary["groups"]}
    files = sum(file.stat().st_size for file in (sound / "train/frames").rglob("c.*") if "ego_mask" not in file.parts)
    assert stored["train/None"] == files
    assert summary["bytes_stored"] == sum(group["bytes_stored"] for group in summary["groups"]) == sum(stored.values())
    (total,) = (line for line in result.output.splitlines() if line.startswith("total"))
    assert size(summary["bytes_stored"]) in total
    ragged = {array["name"] for group in summary["groups"] for array in group["arrays"] if array["ragged"]}
    assert ragged == {"image", "lidar_uv", "lidar_depth"}
    assert summary["scenes"]["train"] == {"000000": 3}


def test_inspect_in_a_narrow_terminal_says_all(sound: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "…" not in cli("inspect", sound).output


def test_inspect_of_a_single_rig(cache_world: Cli, cli: Cli, raw: Path, tmp_path: Path) -> None:
    arguments = (raw, tmp_path / "zarr", "--split", "train", "--limit", "1")
    planned = cache_world(*arguments, "--dry-run")
    for named in ("probe a few rigs of train", "for 1 rig "):
        assert named in planned.output
    assert "1 rig cached now" in cache_world(*arguments).output
    inspected = cli("inspect", tmp_path / "zarr")
    assert "train: 1 rig; " in inspected.output
    assert "000000 (1 rig)" in inspected.output
    assert "1 rigs" not in inspected.output


def test_what_is_no_cache(cli: Cli, tmp_path: Path) -> None:
    assert "no cache at" in one_line(cli("verify", tmp_path / "nowhere"))
    assert "no cache at" in one_line(cli("inspect", tmp_path / "nowhere"))
