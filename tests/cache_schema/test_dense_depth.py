"""Dense depth: an array that only some splits have, and that nobody reads who does not ask for it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache_schema import Cache, CacheWriter, ImageSpec, SplitRecord, empty_frames, put_rig
from cache_schema.errors import CacheCorruptError, CacheError, CacheMismatchError, CacheMissingError
from cache_schema.manifest import stored_digest
from cache_schema.storage import open_storage
from cache_schema.verify import Verification, verify
from tests.tiny_cache import (
    EGO_MASK_INDEX,
    NATIVE,
    dataset,
    depth_of,
    ego_masks,
    rig_frames,
    split_record,
    write_tiny_cache,
)

IMAGE = ImageSpec(height=64, width=96)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("dense") / "zarr", dense_depth=True)


def test_it_comes_back_to_half_a_thousandth(cache: Path) -> None:
    frames = Cache(cache).split("train")
    assert frames.record.dense_depth
    for rig in (0, 5):
        found = frames.dense_depth(rig)
        assert found.shape == (4, *NATIVE)
        np.testing.assert_allclose(found, depth_of(rig, NATIVE), rtol=2**-11)


def test_any_zarr_client_understands_it(cache: Path) -> None:
    array = zarr.open_group(cache, mode="r")["train/frames/dense_depth"]
    assert isinstance(array, zarr.Array)
    assert (array.attrs["unit"], array.metadata.dimension_names) == (  # type: ignore[union-attr]
        "m", ("rig", "camera", "native_height", "native_width"),
    )  # fmt: skip
    np.testing.assert_array_equal(np.float32(array[2]), Cache(cache).split("train").dense_depth(2))


def test_a_rig_is_read_without_it(cache: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cache, tmp_path / "zarr")
    shutil.rmtree(copy / "train/frames/dense_depth")
    frames = Cache(copy).split("train")
    assert frames[0].scene == "scene_00"
    with pytest.raises(CacheCorruptError, match="dense_depth"):
        frames.dense_depth(0)


def test_a_split_without_it_says_so(tmp_path: Path) -> None:
    frames = Cache(write_tiny_cache(tmp_path / "zarr", splits=("val",), teacher=False)).split("val")
    assert not (tmp_path / "zarr/val/frames/dense_depth").exists()
    with pytest.raises(CacheMissingError, match="val/frames has no dense depth"):
        frames.dense_depth(0)


def test_splits_with_and_without_it_do_not_mix(cache: Path) -> None:
    with (
        CacheWriter(cache, dataset(), IMAGE, code_version="test") as writer,
        pytest.raises(CacheMismatchError, match="dense_depth: True stored, False asked"),
    ):
        writer.add_split("train", split_record(6), ego_masks(IMAGE))


def test_a_manifest_from_before_is_valid(tmp_path: Path) -> None:
    root = write_tiny_cache(tmp_path / "zarr", teacher=False) / "zarr.json"
    document = json.loads(root.read_text())
    for split in document["attributes"]["fsmde"]["splits"].values():
        del split["dense_depth"]
    document["attributes"]["fsmde_sha256"] = stored_digest(document["attributes"]["fsmde"])
    root.write_text(json.dumps(document))
    assert not Cache(tmp_path / "zarr").split("train").record.dense_depth
    with CacheWriter(tmp_path / "zarr", dataset(), IMAGE, code_version="later") as writer:
        assert writer.add_split("train", split_record(6), ego_masks(IMAGE)).pending() == []


def test_damage_to_it_is_found(cache: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cache, tmp_path / "zarr")
    path = copy / "train/frames/dense_depth/c.1.0.0.0"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    *_, found = verify(open_storage(copy))
    assert isinstance(found, Verification)
    assert [(damage.array, damage.shard) for damage in found.damages] == [("dense_depth", 1)]


def put(record: SplitRecord, **changes: object) -> np.ndarray:
    blocks = empty_frames(1, dataset(), IMAGE, record)
    put_rig(blocks, 0, dataclasses.replace(rig_frames(0, IMAGE), **changes), EGO_MASK_INDEX, IMAGE)  # type: ignore[arg-type]
    return blocks["dense_depth"][0]


def test_what_does_not_fit_is_refused_by_name() -> None:
    record = split_record(1, dense_depth=True)
    with pytest.raises(CacheError, match="scene_00 sample 000000: has no dense depth"):
        put(record, dense_depth_m=None)
    with pytest.raises(CacheError, match=r"dense depth of shape \(4, 2, 3\), the cache expects \(4, 128, 192\)"):
        put(record, dense_depth_m=np.ones((4, 2, 3), np.float32))


def test_none_is_zero_and_what_float16_cannot_hold_is_none() -> None:
    depth_m = np.full((4, *NATIVE), 7.0, np.float32)
    depth_m[0, 0, :2] = 0.0, 1e6
    stored = put(split_record(1, dense_depth=True), dense_depth_m=depth_m)
    assert stored[0, 0, :3].tolist() == [0.0, 0.0, 7.0]


@pytest.mark.slow
def test_what_float16_costs_and_saves() -> None:
    """The figures of docs/cache.md, from two towns at 384 × 640."""
    from numcodecs import Blosc

    from stages.cache_teacher.datasets.street import StreetConfig, drive
    from stages.cache_teacher.datasets.street.write import depth_to_store

    config, codec = StreetConfig(height=384, width=640), Blosc("zstd", 5, Blosc.SHUFFLE)
    rigs = [rig.depth_m for town in (3, 6) for rig in drive(town, config, 1)]
    plain = [np.where(np.isfinite(depth_m), depth_m, np.float32(0)) for depth_m in rigs]
    errors = np.concatenate([np.abs(np.float32(np.float16(d[d > 0])) - d[d > 0]) / d[d > 0] for d in plain])
    sizes = {
        "float16": np.mean([len(codec.encode(depth_m.astype(np.float16))) for depth_m in plain]),
        "float32": np.mean([len(codec.encode(depth_m)) for depth_m in plain]),
        "float32, rounded": np.mean([len(codec.encode(np.stack([*map(depth_to_store, rig)]))) for rig in rigs]),
    }
    print(f"float16 is off by {errors.mean():.3%} in the mean, {errors.max():.3%} at most")
    print({name: f"{size / 1e6:.2f} MB per rig" for name, size in sizes.items()})
    assert errors.max() <= 2**-11
    assert sizes["float16"] < 0.2 * sizes["float32"]
