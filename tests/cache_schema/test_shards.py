"""The direct reader gives what zarr gives, in any process, and zarr's own bytes are what the writer makes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache_schema import Cache
from cache_schema.errors import CacheCorruptError
from cache_schema.groups import Group, groups_of
from cache_schema.metadata import encode_shard
from cache_schema.shards import ShardBytes, ShardedArray, layout_of
from tests.tiny_cache import write_tiny_cache

ENCODINGS = ("moments", "topk", "dense")


@pytest.fixture(scope="module", params=ENCODINGS)
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    raw = "raw" if request.param == "dense" else "jpeg"
    path = tmp_path_factory.mktemp("cache") / "zarr"
    return Cache(write_tiny_cache(path, splits=("train",), encoding=request.param, image_encoding=raw))


def groups(cache: Cache) -> Iterator[tuple[Group, zarr.Group]]:
    for group in groups_of(cache.manifest):
        yield group, zarr.open_group(cache.location, path=group.path, mode="r", use_consolidated=False)


def test_every_array_reads_as_zarr_reads_it(cache: Cache) -> None:
    for group, stored in groups(cache):
        for array in group.arrays:
            expected = np.asarray(stored[array.name])
            reader = ShardedArray(cache.storage, group, array)
            for shard in group.shards:
                if array.per_rig:
                    found = np.stack([reader.rig(i) for i in range(shard.start, shard.stop)])
                else:
                    found = reader.block(shard.index)[: shard.rigs]
                np.testing.assert_array_equal(found, expected[shard.start : shard.stop], strict=True)
            if array.ragged:
                np.testing.assert_array_equal(reader.rig(4, 5), expected[4, ..., :5], strict=True)
                assert reader.rig(4, 0).size == 0


def test_a_shard_is_the_file_that_zarr_writes(cache: Cache, tmp_path: Path) -> None:
    for group, stored in groups(cache):
        for array in group.arrays:
            source = stored[array.name]
            target = zarr.create_array(
                str(tmp_path / group.path / array.name), data=None, shape=source.shape, dtype=source.dtype,
                chunks=source.chunks, shards=source.shards, compressors=source.compressors, filters=None,
                fill_value=source.fill_value, chunk_key_encoding={"name": "default", "separator": "."},
                config={"write_empty_chunks": not array.ragged},
            )  # fmt: skip
            target[4:6] = source[4:6]
            file = f"{group.path}/{array.name}/c.1" + ".0" * (source.ndim - 1)
            assert (tmp_path / file).read_bytes() == cache.storage.read(file), file


def test_an_absent_chunk_is_an_error(cache: Cache) -> None:
    """zarr leaves out what it was not given; a reader that took it for fill values would train on nothing."""
    group = groups_of(cache.manifest)[1]
    array = next(array for array in group.arrays if array.name == "view_relation")
    block = np.zeros((2, *array.shape(group.sizes)[1:]), np.float16)
    shard = ShardBytes(encode_shard(array, block, 4), layout_of(array, block.shape, 4))
    assert shard.damaged_cells(2) == []
    assert shard.damaged_cells(4) == [(2, 0, 0, 0), (3, 0, 0, 0)]
    with pytest.raises(ValueError, match="absent"):
        shard.chunk((2, 0, 0, 0))


def test_what_is_behind_the_end_of_a_rig_is_not_stored(cache: Cache) -> None:
    group = groups_of(cache.manifest)[0]
    array = next(array for array in group.arrays if array.name == "lidar_depth")
    chunk = array.chunk_length
    block = np.full((4, 3 * chunk), np.nan, np.float32)
    nothing = encode_shard(array, block, 4)
    assert len(nothing) == 4 * 3 * 16 + 4, "an index, and no chunk"
    layout = layout_of(array, block.shape, 4)
    assert ShardBytes(nothing, layout).holds(block)
    block[1, : chunk + 1] = 7
    shard = ShardBytes(encode_shard(array, block, 4), layout)
    assert shard.holds(block)
    assert shard.damaged_cells(4) == []
    with pytest.raises(ValueError, match="absent"):
        shard.chunk((1, 2))
    block[1, 2 * chunk] = 7
    assert not shard.holds(block), "what is not stored is the fill value and nothing else"


def test_damage_names_file_and_rigs_and_remedy(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",))
    file = path / "train/frames/lidar_depth/c.1.0"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(CacheCorruptError, match=r"lidar_depth/c\.1\.0, rig 5, .*checksum.*fsmde verify"):
        Cache(path).split("train")[5]


def test_a_forked_process_reads_what_its_parent_has_open(cache: Cache) -> None:
    frames = cache.split("train")
    here = frames[5].images.tobytes()
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        sending.send(frames[5].images.tobytes() == here and frames[0].scene)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert receiving.recv() == frames[0].scene


def test_a_spawned_process_reads(cache: Cache) -> None:
    frames = cache.split("train")
    frames[0]
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(target=_send_image, args=(frames, sending))
    child.start()
    assert receiving.recv() == frames[5].images.tobytes()
    child.join()


def _send_image(frames: object, sending: Connection) -> None:
    sending.send(frames[5].images.tobytes())  # type: ignore[index]
