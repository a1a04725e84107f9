"""Writing: interrupted and resumed gives the same bytes, one writer at a time, nothing mixed."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from cache_schema import BinSpec, Cache, CacheWriter, ImageSpec, empty_frames, put_rig
from cache_schema.errors import CacheCorruptError, CacheError, CacheLockedError, CacheMismatchError
from tests.tiny_cache import (
    EGO_MASK_INDEX,
    dataset,
    ego_masks,
    rig_frames,
    split_record,
    teacher_record,
    write_tiny_cache,
)

IMAGE = ImageSpec(height=64, width=96)


def open_writer(path: Path, **changes: object) -> CacheWriter:
    image = IMAGE.model_copy(update=changes)
    return CacheWriter(path, dataset(), image, code_version="test")


def block(start: int, stop: int) -> dict[str, np.ndarray]:
    blocks = empty_frames(stop - start, dataset(), IMAGE, split_record(6))
    for row, rig in enumerate(range(start, stop)):
        put_rig(blocks, row, rig_frames(rig, IMAGE), EGO_MASK_INDEX, IMAGE)
    return blocks


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_interrupted_and_resumed_is_the_uninterrupted_cache(tmp_path: Path) -> None:
    whole = write_tiny_cache(tmp_path / "whole", splits=("train",), teacher=False)
    path = tmp_path / "resumed"
    with open_writer(path) as writer:
        frames = writer.add_split("train", split_record(6), ego_masks(IMAGE))
        frames.write(frames.pending()[0], block(0, 4))
    # what a writer killed inside its second shard leaves: a whole array, and a torn temporary file
    (path / "train/frames/image/c.1.0.0.abc.partial").write_bytes(b"half")
    (path / "train/frames/timestamp/c.1").write_bytes(b"not a chunk")
    with open_writer(path) as writer:
        frames = writer.add_split("train", split_record(6), ego_masks(IMAGE))
        assert [shard.index for shard in frames.pending()] == [1]
        frames.write(frames.pending()[0], block(4, 6))
        writer.complete_split("train", frames)
    assert contents(path) == contents(whole)


def test_chunks_that_equal_the_fill_value_are_written(tmp_path: Path) -> None:
    image = ImageSpec(height=64, width=96, encoding="raw")
    with CacheWriter(tmp_path / "zarr", dataset(), image, code_version="test") as writer:
        frames = writer.add_split("train", split_record(4), ego_masks(image))
        blocks = empty_frames(4, dataset(), image, split_record(4))
        for row in range(4):
            put_rig(blocks, row, rig_frames(row, image), EGO_MASK_INDEX, image)
        blocks["image"][:] = 0  # a black frame
        frames.write(frames.pending()[0], blocks)
        writer.complete_split("train", frames)
    assert (tmp_path / "zarr/train/frames/image/c.0.0.0.0.0").stat().st_size > 16 * 4 + 4, "chunks, not only an index"
    assert not Cache(tmp_path / "zarr").split("train")[3].images.any()


def test_the_second_writer_is_refused_by_name_of_the_first(tmp_path: Path) -> None:
    with (
        open_writer(tmp_path / "zarr"),
        pytest.raises(CacheLockedError, match=f"process {os.getpid()} on host {socket.gethostname()}"),
        open_writer(tmp_path / "zarr"),
    ):
        pass
    with open_writer(tmp_path / "zarr"):
        pass


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    holder = context.Process(target=_hold_and_die, args=(tmp_path / "zarr",))
    holder.start()
    holder.join()
    assert holder.exitcode == 9
    with open_writer(tmp_path / "zarr") as writer:
        assert writer.manifest.dataset.name == "tiny"


def _hold_and_die(path: Path) -> None:
    with open_writer(path):
        os._exit(9)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"height": 32}, "image.height: 64 stored, 32 asked"), ({"jpeg_quality": 80}, "jpeg_quality: 95 stored")],
)
def test_another_image_rule_does_not_mix(tmp_path: Path, change: dict[str, int], named: str) -> None:
    write_tiny_cache(tmp_path / "zarr", splits=("train",), teacher=False)
    with pytest.raises(CacheMismatchError, match=named), open_writer(tmp_path / "zarr", **change):
        pass


def test_another_dataset_does_not_mix(tmp_path: Path) -> None:
    write_tiny_cache(tmp_path / "zarr", splits=("train",), teacher=False)
    other = CacheWriter(tmp_path / "zarr", dataset("other"), IMAGE, code_version="test")
    with pytest.raises(CacheMismatchError, match=r"dataset\.name: 'tiny' stored, 'other' asked"), other:
        pass


def test_another_sample_list_or_teacher_does_not_mix(tmp_path: Path) -> None:
    write_tiny_cache(tmp_path / "zarr", splits=("train",))
    with open_writer(tmp_path / "zarr") as writer:
        with pytest.raises(CacheMismatchError, match="a split train of other samples: 6 rigs then, 5 now; ask for"):
            writer.add_split("train", split_record(5), ego_masks(IMAGE))
        with pytest.raises(CacheMismatchError, match=r"targets\.bins\.count: 16 stored, 32 asked"):
            writer.add_teacher("train", "tiny", teacher_record((64, 96), bins=BinSpec(count=32)))


def test_blocks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with open_writer(tmp_path / "zarr") as writer:
        frames = writer.add_split("train", split_record(6))
        blocks = block(0, 4)
        with pytest.raises(CacheError, match="expects the arrays"):
            frames.write(frames.pending()[0], {"image": blocks["image"]})
        with pytest.raises(CacheError, match=r"timestamp rigs 0\.\.4: got float64"):
            frames.write(frames.pending()[0], blocks | {"timestamp": np.zeros(4)})
        assert len(frames.pending()) == 2, "a refused shard is not done"


def test_a_damaged_journal_record_is_named(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), teacher=False)
    record = path / ".fsmde/journal/train/frames/000001.json"
    record.write_text('{"shard": 1')
    with open_writer(path) as writer, pytest.raises(CacheCorruptError, match=r"000001\.json is damaged"):
        writer.add_split("train", split_record(6), ego_masks(IMAGE)).pending()


def test_too_many_lidar_points_are_refused_with_the_remedy() -> None:
    rig = rig_frames(0, IMAGE)
    blocks = empty_frames(1, dataset(), IMAGE, split_record(1))
    blocks["lidar_depth"] = blocks["lidar_depth"][..., :100]
    with pytest.raises(
        CacheError, match=r"scene_00 sample 000000: .* 2400 LiDAR points .* room for 100; .* --lidar-points 2400"
    ):
        put_rig(blocks, 0, rig, EGO_MASK_INDEX, IMAGE)
