"""Verification reads every byte and says what is wrong with which rigs; it never changes anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache_schema import Cache, CacheWriter, ImageSpec
from cache_schema.errors import CacheCorruptError, CacheMissingError
from cache_schema.manifest_file import write_copy
from cache_schema.mender import CacheMender
from cache_schema.storage import open_storage
from cache_schema.verify import Damage, Verification, planned_bytes, verify
from tests.tiny_cache import dataset, ego_masks, split_record, write_tiny_cache


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("sound") / "zarr")


@pytest.fixture
def cache(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "zarr")


def look(path: Path) -> Verification:
    *_, found = verify(open_storage(path))
    assert isinstance(found, Verification)
    return found


def only(path: Path) -> Damage:
    damages = look(path).damages
    assert len(damages) == 1, damages
    return damages[0]


def flip(file: Path, rng: np.random.Generator) -> None:
    data = bytearray(file.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def test_a_sound_cache(sound: Path) -> None:
    found = look(sound)
    assert (found.damages, found.incomplete, found.strays) == ((), (), ())
    steps = [step for step in verify(open_storage(sound)) if isinstance(step, int)]
    assert len(steps) == found.files
    assert sum(steps) == found.bytes_read == planned_bytes(open_storage(sound))


def test_every_flipped_bit_in_any_file_is_found(cache: Path) -> None:
    """Arrays, metadata, ego masks, manifest and journal alike."""
    files = sorted(file for file in cache.rglob("*") if file.is_file() and file.name != "lock")
    rng = np.random.default_rng(1)
    for _ in range(50):
        file = files[rng.integers(len(files))]
        clean = file.read_bytes()
        flip(file, rng)
        assert look(cache).damages, f"a flipped bit in {file} was not found"
        file.write_bytes(clean)
    assert not look(cache).damages


def test_damage_is_named_by_split_array_and_rigs(cache: Path) -> None:
    file = cache / "val/teachers/tiny/bin_mean/c.0.0.0.0"
    data = bytearray(file.read_bytes())
    size = len(data) - 4 * 16 - 4  # the index: four rigs
    data[size - 10] ^= 1  # the end of the last chunk, which is that of rig 3
    file.write_bytes(data)
    damage = only(cache)
    assert (damage.split, damage.teacher, damage.array, damage.shard) == ("val", "tiny", "bin_mean", 0)
    assert damage.rigs == (3, 4)
    assert "SHA-256" in damage.reason


def damaged_index(cache: Path) -> str:
    file = cache / "train/frames/lidar_uv/c.1.0.0"
    data = bytearray(file.read_bytes())
    data[-8] ^= 1
    file.write_bytes(data)
    return "train/frames/lidar_uv/c.1.0.0"


def lost_shard(cache: Path) -> str:
    (cache / "train/frames/image/c.1.0").unlink()
    return "train/frames/image/c.1.0"


def cut_shard(cache: Path) -> str:
    file = cache / "train/frames/image/c.1.0"
    file.write_bytes(file.read_bytes()[:-1])
    return "train/frames/image/c.1.0"


def lost_metadata(cache: Path) -> str:
    (cache / "train/frames/image/zarr.json").unlink()
    return "train/frames/image/zarr.json"


def lost_record(cache: Path) -> str:
    (cache / ".fsmde/journal/train/frames/000001.json").unlink()
    return ".fsmde/journal/train/frames/000001.json"


def swapped_records(cache: Path) -> str:
    folder = cache / ".fsmde/journal/train/frames"
    record = json.loads((folder / "000001.json").read_text())
    (folder / "000001.json").write_text(json.dumps(record | {"stop": 5}))
    return ".fsmde/journal/train/frames/000001.json"


def record_of_no_shard(cache: Path) -> str:
    folder = cache / ".fsmde/journal/train/frames"
    record = json.loads((folder / "000001.json").read_text())
    (folder / "000009.json").write_text(json.dumps(record | {"shard": 9}))
    return ".fsmde/journal/train/frames/000009.json"


def lost_group_record(cache: Path) -> str:
    (cache / ".fsmde/journal/train/frames/group.json").unlink()
    return ".fsmde/journal/train/frames/group.json"


def lost_root(cache: Path) -> str:
    (cache / "zarr.json").unlink()
    return "zarr.json"


def other_version(cache: Path) -> str:
    root = (cache / "zarr.json").read_text()
    (cache / "zarr.json").write_text(root.replace('"schema_version": 1', '"schema_version": 3'))
    return "zarr.json"


def other_consolidated_metadata(cache: Path) -> str:
    root = json.loads((cache / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["train/frames/image"]["shape"][0] = 7
    (cache / "zarr.json").write_text(json.dumps(root))
    return "zarr.json"


def lost_copy(cache: Path) -> str:
    (cache / ".fsmde/manifest.json").unlink()
    return ".fsmde/manifest.json"


@pytest.mark.parametrize(
    "damage",
    [
        damaged_index,
        lost_shard,
        cut_shard,
        lost_metadata,
        lost_record,
        swapped_records,
        record_of_no_shard,
        lost_group_record,
        lost_root,
        other_version,
        other_consolidated_metadata,
        lost_copy,
    ],
)
def test_each_kind_of_damage_is_found_once(damage: Callable[[Path], str], cache: Path) -> None:
    assert damage(cache) == only(cache).file


def test_a_cache_without_manifest_and_copy_cannot_be_verified(cache: Path) -> None:
    (cache / "zarr.json").write_text("{")
    (cache / ".fsmde/manifest.json").write_text("{")
    with pytest.raises(CacheCorruptError, match=r"zarr\.json"):
        look(cache)
    with pytest.raises(CacheMissingError):
        look(cache / "train")


@pytest.mark.parametrize("root", [None, "{}", "{"])
def test_a_lost_root_is_not_taken_for_a_new_cache(cache: Path, root: str | None) -> None:
    """Written again without a question, it would hide months of a teacher's work."""
    before = (cache / "zarr.json").read_bytes()
    (cache / "zarr.json").unlink()
    if root is not None:
        (cache / "zarr.json").write_text(root)
    with pytest.raises(CacheCorruptError, match=r"zarr\.json is damaged .* fsmde verify .* --repair"):
        Cache(cache)
    image = ImageSpec(height=64, width=96)
    with (
        pytest.raises(CacheCorruptError, match="--repair"),
        CacheWriter(cache, dataset(), image, code_version="test", overwrite=True),
    ):
        pass
    with CacheMender(cache):
        pass
    assert (cache / "zarr.json").read_bytes() == before


def test_a_copy_that_a_dying_run_left_behind_is_renewed(cache: Path) -> None:
    before = (cache / ".fsmde/manifest.json").read_bytes()
    write_copy(open_storage(cache), Cache(cache).manifest.model_copy(update={"code_version": "older"}))
    assert only(cache).file == ".fsmde/manifest.json"
    with CacheWriter(cache, dataset(), ImageSpec(height=64, width=96), code_version="test"):
        pass
    assert (cache / ".fsmde/manifest.json").read_bytes() == before


def test_what_is_not_finished_is_no_damage(tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "zarr", dataset(), ImageSpec(height=64, width=96), code_version="test") as writer:
        writer.add_split("train", split_record(6))
    found = look(tmp_path / "zarr")
    assert not found.damages
    assert found.incomplete == ("train/frames",)


def test_strays_do_no_harm(cache: Path) -> None:
    (cache / "train/frames/.DS_Store").write_bytes(b"x")
    found = look(cache)
    assert found.strays == ("train/frames/.DS_Store",)
    assert not found.damages
    assert len(Cache(cache).split("train")) == 6


def test_a_cache_of_an_earlier_fsmde_stays_sound(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version may know more settings: what identifies a shard was computed when its group was made."""
    from cache_schema import groups

    before = groups.record_digest
    monkeypatch.setattr(groups, "record_digest", lambda *records: before(*records, *records))
    assert not look(cache).damages
    with CacheWriter(cache, dataset(), ImageSpec(height=64, width=96), code_version="later") as writer:
        split = Cache(cache).manifest.splits["train"]
        assert writer.add_split("train", split, ego_masks(ImageSpec(height=64, width=96))).pending() == []
