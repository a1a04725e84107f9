"""Three ways to keep JPEG files of varying length in Zarr: which is smallest, fastest, and read by any client."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from rich.table import Table
from zarr.codecs import Crc32cCodec, ZstdCodec

from cache_schema import ImageSpec, RigFrames
from cache_schema.images import decode_jpeg, encode_jpeg
from tests.bench.measure import fastest_ms, folder_bytes

SPEC = ImageSpec()
SHARD = 6
Files = list[list[bytes]]


def table(rigs: Sequence[RigFrames], folder: Path) -> Table:
    once = [[encode_jpeg(i, f, SPEC) for i, f in zip(r.images, r.image_files, strict=True)] for r in rigs]
    files = list(itertools.islice(itertools.cycle(once), 18))
    decode = fastest_ms(lambda: [decode_jpeg(file, SPEC) for rig in once for file in rig]) / len(once)
    shown = Table("stored as", "kB per rig", "read, ms per rig", "core specification", title="JPEG files in Zarr")
    shown.caption = f"random noise takes {noise_bytes_per_pixel():.2f} bytes per pixel"
    shown.add_row("(decoding alone, for comparison)", "", f"{decode:.2f}", "")
    for name, write, core in (
        ("variable-length bytes", variable, "no"),
        ("padded to 3 bytes per pixel", padded, "yes"),
        ("padded, chunks of 64 KiB", padded_in_chunks, "yes"),
        ("one byte row per rig, and offsets", row, "yes"),
    ):
        path = folder / write.__name__
        read = write(path, files)
        assert read(3) == files[3]
        milliseconds = fastest_ms(lambda read=read: [read(i) for i in range(len(files))]) / len(files)  # type: ignore[misc]
        shown.add_row(name, f"{folder_bytes(path) / len(files) / 1e3:.1f}", f"{milliseconds:.2f}", core)
    return shown


def noise_bytes_per_pixel() -> float:
    """Size of the JPEG that compresses worst: the room per pixel must exceed it."""
    noise = np.random.default_rng(0).integers(0, 256, (SPEC.height, SPEC.width, 3), dtype=np.uint8)
    return len(encode_jpeg(noise, b"", SPEC)) / (SPEC.height * SPEC.width)


def padded(path: Path, files: Files, chunk: int | None = None) -> Callable[[int], list[bytes]]:
    room = SPEC.height * SPEC.width * 3
    chunk = chunk or room
    room = -(-room // chunk) * chunk
    views = len(files[0])
    array = create(path, (len(files), views, room), (1, views, chunk), "uint8")
    lengths = np.array([[len(file) for file in rig] for rig in files])
    for start in range(0, len(files), SHARD):
        block = np.zeros((SHARD, views, room), np.uint8)
        for i, view in itertools.product(range(SHARD), range(views)):
            file = files[start + i][view]
            block[i, view, : len(file)] = np.frombuffer(file, np.uint8)
        array[start : start + SHARD] = block

    def read(i: int) -> list[bytes]:
        rows = np.asarray(array[i, :, : lengths[i].max()])
        return [row[:length].tobytes() for row, length in zip(rows, lengths[i], strict=True)]

    return read


def padded_in_chunks(path: Path, files: Files) -> Callable[[int], list[bytes]]:
    return padded(path, files, 65536)


def row(path: Path, files: Files) -> Callable[[int], list[bytes]]:
    room = len(files[0]) * SPEC.height * SPEC.width * 3
    array = create(path, (len(files), room), (1, room), "uint8")
    offsets = np.array([np.cumsum([0, *(len(file) for file in rig)]) for rig in files])
    for start in range(0, len(files), SHARD):
        block = np.zeros((SHARD, room), np.uint8)
        for i in range(SHARD):
            joined = np.frombuffer(b"".join(files[start + i]), np.uint8)
            block[i, : len(joined)] = joined
        array[start : start + SHARD] = block

    def read(i: int) -> list[bytes]:
        joined = np.asarray(array[i, : offsets[i, -1]]).tobytes()
        return [joined[a:b] for a, b in itertools.pairwise(offsets[i])]

    return read


def variable(path: Path, files: Files) -> Callable[[int], list[bytes]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's own: this type has no place in the specification
        array = create(path, (len(files), len(files[0])), (1, len(files[0])), "variable_length_bytes")
        for start in range(0, len(files), SHARD):
            block = np.empty((SHARD, len(files[0])), object)
            block[:] = files[start : start + SHARD]
            array[start : start + SHARD] = block
    return lambda i: list(np.asarray(array[i]))


def create(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> zarr.Array[Any]:
    compressors: tuple[Any, ...] = (Crc32cCodec(),) if "bytes" in dtype else (ZstdCodec(level=1), Crc32cCodec())
    return zarr.create_array(
        str(path),
        shape=shape,
        chunks=chunks,
        shards=(SHARD, *shape[1:]),
        dtype=dtype,
        compressors=compressors,
        filters=None,
    )
