"""The thin layer over zarr: how an array of the table is laid out in chunks and shards, made and opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArrayConfigParams
from zarr.errors import NodeNotFoundError

from cache_schema.arrays import ArraySpec
from cache_schema.errors import CacheCorruptError, CacheMismatchError, CacheMissingError

_COMPRESSORS: dict[str, tuple[Any, ...]] = {
    # JPEG files do not compress, but their zero padding does: zstd stores the one and squeezes the other.
    "files": (ZstdCodec(level=1), Crc32cCodec()),
    "numbers": (BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()),
}

# Chunks that equal the fill value must be written too: only then does an absent chunk mean a lost one.
_WRITE_ALL: ArrayConfigParams = {"write_empty_chunks": True}


def create_array(group: Path, array: ArraySpec, sizes: Mapping[str, int], shard_rigs: int, **attributes: Any) -> None:
    """Make an array, or check that the one already there has the same shape.

    Raises CacheMismatchError where it has another.
    """
    shape = array.shape(sizes)
    if (group / array.name / "zarr.json").exists():
        found = open_array(group, array.name).shape
        if found != shape:
            raise CacheMismatchError(
                f"{group / array.name} has shape {found}, expected {shape}; use another --cache folder"
            )
        return
    chunks, shards = chunk_shapes(array, shape, shard_rigs)
    zarr.create_array(
        str(group / array.name),
        shape=shape,
        dtype=array.dtype,
        chunks=chunks,
        shards=shards,
        compressors=_COMPRESSORS[array.compression],
        filters=None,
        fill_value=array.fill,
        dimension_names=array.axes,
        attributes={"unit": array.unit, "description": array.description, **attributes},
    )


def chunk_shapes(
    array: ArraySpec, shape: tuple[int, ...], shard_rigs: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Chunk and shard shape: a shard spans `shard_rigs` rigs and every other axis whole."""
    if array.axes[0] != "rig":
        return tuple(max(size, 1) for size in shape), None
    if not array.per_rig:
        return (shard_rigs, *shape[1:]), None
    inner = tuple(array.chunk_sizes.get(axis, size) for axis, size in zip(array.axes[1:], shape[1:], strict=True))
    return (1, *inner), (shard_rigs, *shape[1:])


def open_array(group: Path, name: str, *, writable: bool = False) -> zarr.Array[Any]:
    """Open one array. Raises CacheMissingError or CacheCorruptError, naming it."""
    path = group / name
    try:
        array = zarr.open_array(str(path), mode="r+" if writable else "r")
    except (FileNotFoundError, NodeNotFoundError) as error:
        raise CacheMissingError(f"array {path} is not in the cache; run stage 1 again to add it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CacheCorruptError(f"array {path} has damaged metadata ({error})") from error
    return array.with_config(_WRITE_ALL) if writable else array


def read(array: zarr.Array[Any], selection: Any) -> np.ndarray:
    """Read part of an array; every chunk's checksum is compared. Raises CacheCorruptError, naming the array."""
    try:
        return np.asarray(array[selection])
    except (ValueError, RuntimeError, OSError) as error:
        raise CacheCorruptError(f"{array.store_path} at {_describe(selection)} cannot be read: {error}") from error


def shard_file(name: str, ndim: int, shard: int) -> str:
    """Path of a shard's file below its group: zarr's default key of the chunk grid, whose other axes have one cell."""
    return "/".join([name, "c", str(shard), *["0"] * (ndim - 1)])


def _describe(selection: Any) -> str:
    first = selection[0] if isinstance(selection, tuple) else selection
    return f"rigs {first.start}..{first.stop}" if isinstance(first, slice) else f"rig {first}"
