"""Reading arrays straight from their shards: the index of a shard once, then one read for each chunk.

zarr can read a cache too, and so can any other client. This reader does what the cache promises beyond that: a
chunk that is absent is an error, never a fill value; and it costs little beside the decoding of the images.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc, zstd

from cache_schema.arrays import ArraySpec, chunk_shapes
from cache_schema.errors import CacheCorruptError
from cache_schema.groups import Group
from cache_schema.storage import Storage

_ABSENT = 2**64 - 1
_CRC_BYTES = 4
_DAMAGE = (FileNotFoundError, ValueError, RuntimeError)
"""What a lost or damaged chunk raises."""
_KEPT_INDICES = 64

Index = np.ndarray
"""Offset and length of each chunk of a shard, (*chunks per axis, 2) uint64."""


@dataclass(frozen=True)
class Layout:
    """How an array lies in its files."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    compression: str
    sharded: bool
    ragged: bool
    fill: int | float

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks of a shard along each axis."""
        return tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))


def layout_of(array: ArraySpec, shape: tuple[int, ...], shard_rigs: int) -> Layout:
    """Layout of an array of the table."""
    chunk, shard = chunk_shapes(array, shape, shard_rigs)
    return Layout(
        shape=shape,
        dtype=np.dtype(array.dtype).newbyteorder("<"),
        shard=shard or chunk,
        chunk=chunk,
        compression=array.compression,
        sharded=shard is not None,
        ragged=array.ragged,
        fill=array.fill,
    )


class ShardedArray:
    """One array of a group, read only. Every checksum is compared.

    Methods raise CacheCorruptError, naming the file and the rigs, where it is lost or damaged.
    """

    def __init__(self, storage: Storage, group: Group, array: ArraySpec) -> None:
        self.layout = layout_of(array, array.shape(group.sizes), group.record.shard_rigs)
        self._storage = storage
        self._group = group
        self._array = array
        self._indices: OrderedDict[int, Index] = OrderedDict()

    def rig(self, i: int, length: int | None = None) -> np.ndarray:
        """One rig of an array whose chunks hold one; of a ragged one the first `length` along its last axis."""
        shard, row = divmod(i, self.layout.shard[0])
        try:
            return self._rig(shard, row, self.layout.shape[-1] if length is None else length)
        except _DAMAGE as error:
            raise self._corrupt(shard, f"rig {i}", error) from error

    def block(self, shard: int = 0) -> np.ndarray:
        """All rigs of a shard, of an array that has one chunk for them, or the whole of one that has no rigs."""
        try:
            return _decode(self._storage.read(self.key(shard)), self.layout)
        except _DAMAGE as error:
            start = shard * self.layout.shard[0]
            stop = min(start + self.layout.shard[0], self.layout.shape[0])
            raise self._corrupt(shard, f"rigs {start}..{stop}", error) from error

    def key(self, shard: int) -> str:
        """Key of a shard's file in the storage."""
        return self._group.key(self._array, shard)

    def _rig(self, shard: int, row: int, length: int) -> np.ndarray:
        *outer, width = self.layout.chunk[1:]
        chunks = -(-length // width)
        extents = [(offset, size) for offset, size in self._index(shard)[row, :chunks].tolist()]
        if (_ABSENT, _ABSENT) in extents:
            raise ValueError("a chunk is absent")
        entry = np.empty([*outer, chunks * width], self.layout.dtype)
        for position, stored in enumerate(self._storage.read_ranges(self.key(shard), extents)):
            place = entry[..., position * width : (position + 1) * width]
            if place.flags.c_contiguous:
                _decode(stored, self.layout, place)
            else:
                place[...] = _decode(stored, self.layout)[0]
        return entry[..., :length]

    def _index(self, shard: int) -> Index:
        """Offset and length of the chunks of each rig, (rigs, chunks, 2)."""
        if shard not in self._indices:
            end = self._storage.read_end(self.key(shard), _index_bytes(self.layout))
            self._indices[shard] = _parse_index(end, self.layout).reshape(self.layout.shard[0], -1, 2)
            if len(self._indices) > _KEPT_INDICES:
                self._indices.popitem(last=False)
        return self._indices[shard]

    def _corrupt(self, shard: int, rigs: str, error: Exception) -> CacheCorruptError:
        reason = "it is lost" if isinstance(error, FileNotFoundError) else str(error)
        return CacheCorruptError(
            f"{self._storage.path(self.key(shard))}, {rigs}, cannot be read: {reason}; "
            f"see what is damaged, and mend it, with: fsmde verify {self._storage.location}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indices": OrderedDict()}


class ShardBytes:
    """The bytes of one shard's file, chunk by chunk. Raises ValueError where the index is damaged."""

    def __init__(self, data: bytes, layout: Layout) -> None:
        self._data = data
        self._layout = layout
        self._index = _parse_index(data[-_index_bytes(layout) :], layout) if layout.sharded else None

    def cells(self, rows: int) -> Iterator[tuple[int, ...]]:
        """Positions of the chunks that hold the first `rows` rigs."""
        grid = self._layout.grid
        return product(range(-(-rows // self._layout.chunk[0])), *map(range, grid[1:]))

    def chunk(self, cell: tuple[int, ...]) -> np.ndarray:
        """One chunk. Raises ValueError or RuntimeError where it is damaged or absent."""
        return _decode(self._stored(cell), self._layout)

    def damaged_cells(self, rows: int) -> list[tuple[int, ...]]:
        """Positions of the chunks among those of the first `rows` rigs that are lost or do not match their checksum.

        In a ragged array a chunk may be absent: whether it should be is known to who reads the lengths.
        """
        return [cell for cell in self.cells(rows) if not self._sound(cell)]

    def _sound(self, cell: tuple[int, ...]) -> bool:
        if self._layout.ragged and self._absent(cell):
            return True
        try:
            _checked(self._stored(cell), "a chunk")
        except ValueError:
            return False
        return True

    def _absent(self, cell: tuple[int, ...]) -> bool:
        return self._index is not None and int(self._index[cell][0]) == _ABSENT

    def _stored(self, cell: tuple[int, ...]) -> bytes:
        if self._index is None:
            return self._data
        offset, length = _extent(self._index, cell)
        return self._data[offset : offset + length]

    def holds(self, block: np.ndarray) -> bool:
        """Whether the shard's first rigs are, bit for bit, the rows of `block`."""
        return all(self._same(block, cell) for cell in self.cells(len(block)))

    def _same(self, block: np.ndarray, cell: tuple[int, ...]) -> bool:
        part = block[tuple(slice(c * n, (c + 1) * n) for c, n in zip(cell, self._layout.chunk, strict=True))]
        if self._layout.ragged and self._absent(cell):
            return part.tobytes() == np.full(part.shape, self._layout.fill, part.dtype).tobytes()
        found = self.chunk(cell)[tuple(slice(0, n) for n in part.shape)]
        return found.tobytes() == part.tobytes()


def empty_shard(layout: Layout) -> bytes:
    """The file of a shard none of whose rigs has anything in a ragged array: an index of absent chunks."""
    index = b"\xff" * (_index_bytes(layout) - _CRC_BYTES)
    checksum: int = google_crc32c.value(index)
    return index + checksum.to_bytes(_CRC_BYTES, "little")


def _index_bytes(layout: Layout) -> int:
    return 16 * math.prod(layout.grid) + _CRC_BYTES


def _parse_index(end: bytes, layout: Layout) -> Index:
    index = np.frombuffer(_checked(end, "the shard's index"), "<u8")
    return index.reshape(*layout.grid, 2)


def _extent(index: Index, cell: tuple[int, ...]) -> tuple[int, int]:
    offset, length = index[cell].tolist()
    if offset == _ABSENT:
        raise ValueError(f"chunk {cell} is absent")
    return offset, length


def _decode(stored: bytes, layout: Layout, place: np.ndarray | None = None) -> np.ndarray:
    chunk = np.empty(layout.chunk, layout.dtype) if place is None else place
    decompress = zstd.decompress if layout.compression == "zstd" else blosc.decompress
    decompress(_checked(stored, "a chunk"), chunk)
    return chunk


def _checked(stored: bytes, what: str) -> np.ndarray:
    data = np.frombuffer(stored, np.uint8)[:-_CRC_BYTES]  # an array, since slices of bytes are copies
    if len(stored) < _CRC_BYTES or google_crc32c.value(data) != int.from_bytes(stored[-_CRC_BYTES:], "little"):
        raise ValueError(f"the checksum of {what} does not match")
    return data
