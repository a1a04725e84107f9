"""Reading arrays straight from their shards: the index of a shard once, then one read for each chunk.

zarr can read a cache too, and so can any other client. This reader does what the cache promises beyond that: a
chunk that is absent is an error, never a fill value; and it costs little beside the decoding of the images.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd

from cache_schema.arrays import ArraySpec, chunk_shapes
from cache_schema.errors import CacheCorruptError
from cache_schema.groups import Group
from cache_schema.storage import Storage

_ABSENT = 2**64 - 1
_CRC_BYTES = 4
_CODECS = {"zstd": Zstd(), "bitshuffle": Blosc(), "shuffle": Blosc()}
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
    """One array of a group, read only."""

    def __init__(self, storage: Storage, group: Group, array: ArraySpec) -> None:
        self.layout = layout_of(array, array.shape(group.sizes), group.record.shard_rigs)
        self._storage = storage
        self._group = group
        self._array = array
        self._indices: OrderedDict[int, Index] = OrderedDict()

    def rows(self, start: int, stop: int, limits: tuple[int | None, ...] = ()) -> np.ndarray:
        """Rigs [start, stop) of one shard; `limits` crop the axes after the first. Every checksum is compared.

        Raises CacheCorruptError, naming the file and the rigs.
        """
        layout = self.layout
        shard, first = divmod(start, layout.shard[0])
        ends = [size if end is None else end for size, end in zip_longest(layout.shape[1:], limits)]
        ranges = [(first, first + stop - start), *((0, end) for end in ends)]
        cells = [range(low // c, -(-high // c)) for (low, high), c in zip(ranges, layout.chunk, strict=True)]
        try:
            found = self._cells(shard, cells)
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            reason = "it is lost" if isinstance(error, FileNotFoundError) else str(error)
            raise CacheCorruptError(
                f"{self._storage.path(self.key(shard))}, rigs {start}..{stop}, cannot be read: {reason}; "
                f"see what is damaged, and mend it, with: fsmde verify {self._storage.location}"
            ) from error
        offsets = [cell.start * c for cell, c in zip(cells, layout.chunk, strict=True)]
        return found[tuple(slice(low - o, high - o) for (low, high), o in zip(ranges, offsets, strict=True))]

    def key(self, shard: int) -> str:
        """Key of a shard's file in the storage."""
        return self._group.key(self._array, shard)

    def _cells(self, shard: int, cells: Sequence[range]) -> np.ndarray:
        """A box of whole chunks. Raises ValueError, RuntimeError or FileNotFoundError where one is damaged or lost."""
        layout, key = self.layout, self.key(shard)
        box = np.empty([len(cell) * c for cell, c in zip(cells, layout.chunk, strict=True)], layout.dtype)
        if not layout.sharded:
            _decode(self._storage.read(key), layout, box)
            return box
        index = self._index(shard)
        stored = self._storage.read_ranges(key, [_extent(index, cell) for cell in product(*cells)])
        for data, position in zip(stored, product(*(range(len(cell)) for cell in cells)), strict=True):
            place = box[tuple(slice(p * c, (p + 1) * c) for p, c in zip(position, layout.chunk, strict=True))]
            if place.flags.c_contiguous:
                _decode(data, layout, place)
            else:
                place[...] = _decode(data, layout)
        return box

    def _index(self, shard: int) -> Index:
        if shard not in self._indices:
            end = self._storage.read_end(self.key(shard), _index_bytes(self.layout))
            self._indices[shard] = _parse_index(end, self.layout)
            if len(self._indices) > _KEPT_INDICES:
                self._indices.popitem(last=False)
        return self._indices[shard]

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
    _CODECS[layout.compression].decode(_checked(stored, "a chunk"), out=chunk)
    return chunk


def _checked(stored: bytes, what: str) -> bytes:
    data, expected = stored[:-_CRC_BYTES], stored[-_CRC_BYTES:]
    if google_crc32c.value(data) != int.from_bytes(expected, "little") or len(expected) < _CRC_BYTES:
        raise ValueError(f"the checksum of {what} does not match")
    return data
