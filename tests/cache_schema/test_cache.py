"""A cache gives back what was put in, says what it is, and refuses to be read half finished."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache_schema import Cache, CacheWriter, ImageSpec, TeacherKind
from cache_schema.errors import (
    CacheCorruptError,
    CacheIncompleteError,
    CacheMismatchError,
    CacheMissingError,
)
from cache_schema.manifest import stored_digest
from cache_schema.soft_targets import expand, expected_position
from tests.tiny_cache import (
    CAMERAS,
    dataset,
    ego_masks,
    feature_of,
    raw_scale_of,
    relation_of,
    rig_frames,
    split_record,
    targets_of,
    teacher_record,
    write_tiny_cache,
)


@pytest.fixture(scope="module")
def cache_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr")


@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_frames_come_back(tmp_path: Path, encoding: str) -> None:
    path = write_tiny_cache(tmp_path / "zarr", image_encoding=encoding, splits=("train",), teacher=False)
    frames = Cache(path).split("train")
    assert len(frames) == 6
    for i in (0, 5):
        rig, expected = frames[i], rig_frames(i, ImageSpec(height=64, width=96))
        assert (rig.scene, rig.sample, rig.timestamp) == (expected.scene, expected.sample, expected.timestamp)
        difference = np.abs(rig.images.astype(int) - np.stack(expected.images).astype(int))
        assert difference.max() == 0 if encoding == "raw" else difference.mean() < 4
        for stored, given in zip(rig.lidar, expected.lidar, strict=True):
            np.testing.assert_array_equal(stored.uv_px, given.uv_px)
            np.testing.assert_array_equal(stored.depth_m, given.depth_m)
        np.testing.assert_array_equal(rig.intrinsics_px, expected.intrinsics_px)
        np.testing.assert_array_equal(rig.ego_mask[1], ego_masks(ImageSpec(height=64, width=96))[0] == 1)
        assert rig.ego_mask[0].all(), "a camera without a mask sees only the world"


@pytest.mark.parametrize("encoding", ["moments", "topk", "dense"])
def test_targets_come_back_whatever_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = write_tiny_cache(tmp_path / "zarr", encoding=encoding, splits=("train",))
    targets = Cache(path).targets("train", "tiny")
    stored = targets[4]
    u = expected_position(expand(stored.encoded, targets.spec), targets.spec.bins)
    np.testing.assert_allclose(u, targets_of(4, targets.spec).mean, atol=0.1)
    np.testing.assert_array_equal(stored.view_relation, relation_of(4, targets.spec))


def test_features_come_back_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), feature_channels=5)
    cache = Cache(path)
    targets = cache.targets("train", "tiny", features=True)
    np.testing.assert_array_equal(targets[4].feature, feature_of(4, targets.spec))
    assert targets[4].feature.shape == (4, 6, 5)
    assert cache.targets("train", "tiny")[4].feature is None
    assert "feature" not in targets[4].encoded


def test_features_that_are_not_stored_are_missed_by_name(cache_path: Path) -> None:
    with pytest.raises(CacheMissingError, match=r"no features of teacher tiny.*targets\.features=true"):
        Cache(cache_path).targets("train", "tiny", features=True)


def test_the_raw_scale_comes_back_where_it_is_asked_for(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), test_time_views=2)
    cache = Cache(path)
    targets = cache.targets("train", "tiny", raw_scale=True)
    low, span = raw_scale_of(4, targets.spec)
    np.testing.assert_array_equal(targets[4].disparity_low, low)
    np.testing.assert_array_equal(targets[4].disparity_span, span)
    assert set(targets[4].encoded) == {"bin_mean", "bin_spread"}
    assert cache.targets("train", "tiny")[4].disparity_span is None


def test_a_raw_scale_that_is_not_stored_is_missed_with_the_command_that_adds_it(cache_path: Path) -> None:
    with pytest.raises(CacheMissingError, match=r"no raw scale of teacher tiny.*fsmde cache-teacher … --overwrite"):
        Cache(cache_path).targets("train", "tiny", raw_scale=True)


@pytest.mark.parametrize("kind", TeacherKind)
def test_other_clients_read_the_unit_of_the_raw_scale(tmp_path: Path, kind: TeacherKind) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), kind=kind, test_time_views=2)
    soft = zarr.open_group(str(path), mode="r")["train/teachers/tiny"]
    for name in ("disparity_low", "disparity_span"):
        assert soft[name].metadata.dimension_names == ("rig", "camera", "test_time_view")
        assert soft[name].attrs["unit"] == ("1" if kind == "disparity_affine_invariant" else "1/m")
        assert f"{name.removeprefix('disparity_')} of d = low + u · span" in soft[name].attrs["description"]


def test_a_cache_of_before_there_were_choices_has_what_there_was(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",))
    edited = json.loads((path / "zarr.json").read_text())
    stored = edited["attributes"]["fsmde"]
    for field in ("normalisation", "relation_of", "feature_channels", "test_time_views"):
        del stored["teachers"]["tiny"]["targets"][field]
    edited["attributes"]["fsmde_sha256"] = stored_digest(stored)
    (path / "zarr.json").write_text(json.dumps(edited))
    cache = Cache(path)
    assert cache.manifest.teachers["tiny"].targets == teacher_record((64, 96)).targets
    assert cache.manifest.teachers["tiny"].targets.normalisation == "quantiles"
    assert cache.manifest.teachers["tiny"].targets.relation_of == "tokens"
    assert len(cache.targets("train", "tiny")[:]) == 6


@pytest.mark.parametrize(
    ("field", "other"),
    [("normalisation", "rank"), ("relation_of", "deviations"), ("feature_channels", 5), ("test_time_views", 2)],
)
def test_targets_made_otherwise_are_refused(cache_path: Path, field: str, other: object) -> None:
    with (
        CacheWriter(cache_path, dataset(), ImageSpec(height=64, width=96), code_version="test") as writer,
        pytest.raises(CacheMismatchError, match=f"targets.{field}: .* stored, {other!r} asked"),
    ):
        writer.add_teacher("train", "tiny", teacher_record((64, 96), **{field: other}))


def test_readers_slice_count_and_travel_to_other_processes(cache_path: Path) -> None:
    frames = Cache(cache_path).split("val")
    assert [rig.timestamp for rig in frames[4:]] == [1004, 1005]
    assert frames[-1].timestamp == 1005
    with pytest.raises(IndexError):
        frames[6]
    assert pickle.loads(pickle.dumps(frames))[2].timestamp == 1002


def test_any_zarr_client_understands_it(cache_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = zarr.open_group(str(cache_path), mode="r")
        depth = root["train/frames/lidar_depth"]
        assert depth.metadata.dimension_names == ("rig", "point")
        assert depth.attrs["unit"] == "m"
        assert "z in the frame of its camera" in depth.attrs["description"]
        assert {name for name, _ in root.members()} == {"train", "val"}
    assert root.attrs["fsmde"]["dataset"]["cameras"] == list(CAMERAS)
    for metadata in cache_path.rglob("zarr.json"):
        types = json.loads(metadata.read_text()).get("data_type", "uint8")
        assert isinstance(types, str), f"{metadata}: only types of the core specification, which all clients read"


def test_missing_things_are_named(cache_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheMissingError, match="no cache at"):
        Cache(tmp_path / "nothing")
    with pytest.raises(CacheMissingError, match="no split 'test'; it has: train, val"):
        Cache(cache_path).split("test")
    with pytest.raises(CacheMissingError, match="no teacher 'big'; it has: tiny"):
        Cache(cache_path).targets("train", "big")
    zarr.open_group(str(tmp_path / "other"), mode="w")
    with pytest.raises(CacheMissingError, match="not an fsmde cache"):
        Cache(tmp_path / "other")


def test_an_unfinished_split_is_refused(tmp_path: Path) -> None:
    image = ImageSpec(height=64, width=96)
    with CacheWriter(tmp_path / "zarr", dataset(), image, code_version="test") as writer:
        frames = writer.add_split("train", split_record(6))
        with pytest.raises(CacheIncompleteError, match="lacks 2 of 2 shards"):
            writer.complete_split("train", frames)
    with pytest.raises(CacheIncompleteError, match=r"split train .* is not complete"):
        Cache(tmp_path / "zarr").split("train")


def test_an_unfinished_teacher_is_refused_and_leaves_the_frames_readable(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",))
    before = {p: p.read_bytes() for p in (path / "train" / "frames").rglob("*") if p.is_file()}
    with CacheWriter(path, dataset(), ImageSpec(height=64, width=96), code_version="test") as writer:
        writer.add_teacher("train", "second", teacher_record((64, 96), encoding="dense"))
    cache = Cache(path)
    assert len(cache.split("train")) == 6
    assert len(cache.targets("train", "tiny")) == 6
    with pytest.raises(CacheIncompleteError, match="teacher second"):
        cache.targets("train", "second")
    assert {p: p.read_bytes() for p in before} == before, "adding a teacher never touches frames"


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), teacher=False)
    _edit_manifest(path, schema_version=2)
    with pytest.raises(CacheMismatchError, match="schema version 2"):
        Cache(path)
    _edit_manifest(path, schema_version=1, surprise=1)
    with pytest.raises(CacheCorruptError, match="surprise"):
        Cache(path)


def test_a_lost_shard_is_not_read_as_fill_values(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",))
    (path / "train/teachers/tiny/bin_mean/c.1.0.0.0").unlink()
    targets = Cache(path).targets("train", "tiny")
    targets[0]
    with pytest.raises(CacheCorruptError, match=r"bin_mean/c\.1\.0\.0\.0.* it is lost"):
        targets[5]


def test_lost_or_damaged_ego_masks_are_not_read_as_world(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), teacher=False)
    file = path / "train/frames/ego_mask/c.0.0.0"
    file.unlink()
    with pytest.raises(CacheCorruptError, match=r"ego_mask/c.0.0.0, .* it is lost"):
        Cache(path).split("train")[0]


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",))
    clean_contents = _everything(path)
    files = sorted(f for f in path.rglob("c.*") if f.is_file())
    rng = np.random.default_rng(0)
    for _ in range(60):
        file = files[rng.integers(len(files))]
        clean = file.read_bytes()
        flipped = bytearray(clean)
        flipped[rng.integers(len(flipped))] ^= 1 << int(rng.integers(8))
        file.write_bytes(flipped)
        with pytest.raises(CacheCorruptError):
            assert _everything(path) == clean_contents, f"a flipped bit in {file} changed data without an error"
        file.write_bytes(clean)


def _everything(path: Path) -> list[bytes]:
    cache = Cache(path)
    frames, targets = cache.split("train"), cache.targets("train", "tiny")
    parts: list[bytes] = []
    for i in range(len(frames)):
        rig, soft = frames[i], targets[i]
        parts += [rig.scene.encode(), rig.sample.encode(), rig.images.tobytes(), str(rig.timestamp).encode()]
        parts += [view.uv_px.tobytes() + view.depth_m.tobytes() for view in rig.lidar]
        parts += [rig.intrinsics_px.tobytes(), rig.rig_from_camera.tobytes(), rig.world_from_camera.tobytes()]
        parts += [rig.world_from_rig.tobytes(), rig.ego_mask.tobytes(), soft.view_relation.tobytes()]
        parts += [array.tobytes() for array in soft.encoded.values()]
    return parts


def _edit_manifest(path: Path, **changes: object) -> None:
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["fsmde"] |= changes
    (path / "zarr.json").write_text(json.dumps(metadata))
