"""The Zarr metadata of a cache: what its zarr.json files say, made by zarr itself, in memory, from the manifest."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from cache_schema.arrays import RAW_SCALE, ArraySpec, chunk_shapes
from cache_schema.groups import Group, chunk_key, groups_of
from cache_schema.layout import ROOT
from cache_schema.manifest import Manifest, TeacherRecord, manifest_attributes
from cache_schema.shards import empty_shard, layout_of
from cache_schema.soft_targets import mean_codes, spread_limits

_COMPRESSORS: dict[str, tuple[Any, ...]] = {
    # JPEG files do not compress, but their zero padding does: zstd stores the one and squeezes the other.
    "zstd": (ZstdCodec(level=1), Crc32cCodec()),
    "bitshuffle": (BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()),
    "shuffle": (BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()),
    "shuffle-lz4": (BloscCodec(cname="lz4hc", clevel=9, shuffle="shuffle"), Crc32cCodec()),
}

Documents = dict[str, bytes]
"""zarr.json files by their keys."""


def group_documents(manifest: Manifest, group: Group) -> Documents:
    """The metadata of a group's arrays, and of the groups above them but for the root."""
    objects: dict[str, Buffer] = {}
    _add_group(objects, manifest, group)
    return {key: value.to_bytes() for key, value in objects.items() if key != ROOT}


def group_files(manifest: Manifest, group: Group, ego_masks: np.ndarray) -> Documents:
    """All that a group holds beside its shards: metadata and, with the frames, the ego masks (mask, height, width)."""
    masks = {
        group.key(array): encode_shard(array, ego_masks, group.record.shard_rigs)
        for array in group.whole_arrays
        if len(ego_masks)
    }
    return group_documents(manifest, group) | masks


def root_document(manifest: Manifest) -> bytes:
    """The root's zarr.json: the manifest with its digest, and the consolidated metadata of all that is complete.

    Clients open the whole with one request; what is not complete stays invisible to them.
    """
    objects: dict[str, Buffer] = {}
    store = MemoryStore(objects)
    zarr.create_group(store, attributes=dict(manifest_attributes(manifest)))
    for group in groups_of(manifest):
        if group.complete:
            _add_group(objects, manifest, group)
    if len(objects) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # zarr's own extension of format 3
            zarr.consolidate_metadata(store)
    return objects[ROOT].to_bytes()


def create_array(
    store: MemoryStore, path: str, array: ArraySpec, shape: tuple[int, ...], shard_rigs: int, **attributes: Any
) -> zarr.Array[Any]:
    """Make an array of the table in memory.

    Chunks that equal the fill value are written too, but for those behind a rig's end in ragged arrays: only then
    does an absent chunk mean a lost one.
    """
    chunks, shards = chunk_shapes(array, shape, shard_rigs)
    return zarr.create_array(
        store,
        name=path,
        shape=shape,
        dtype=array.dtype,
        chunks=chunks,
        shards=shards,
        compressors=_COMPRESSORS[array.compression],
        filters=None,
        fill_value=array.fill,
        dimension_names=array.axes,
        chunk_key_encoding={"name": "default", "separator": "."},
        attributes={"unit": array.unit, "description": array.description, **attributes},
        config={"write_empty_chunks": not array.ragged},
    )


def encode_shard(array: ArraySpec, block: np.ndarray, shard_rigs: int) -> bytes:
    """The file of a shard: rigs (rows of `block`) in the array's chunks, compressed and with checksums.

    A shard is encoded on its own, in memory: the same bytes that zarr would write into the whole array.
    """
    objects: dict[str, Buffer] = {}
    create_array(MemoryStore(objects), "", array, block.shape, shard_rigs)[...] = block
    stored = objects.get(chunk_key(array))
    return empty_shard(layout_of(array, block.shape, shard_rigs)) if stored is None else stored.to_bytes()


def _add_group(objects: dict[str, Buffer], manifest: Manifest, group: Group) -> None:
    store = MemoryStore(objects)
    parts = group.path.split("/")
    for path in ("/".join(parts[: depth + 1]) for depth in range(len(parts))):
        if f"{path}/{ROOT}" not in objects:
            zarr.create_group(store, path=path)
    for array in (*group.arrays, *group.whole_arrays):
        attributes = {} if group.teacher is None else _decoding_attributes(array, manifest.teachers[group.teacher])
        document = _array_document(array, array.shape(group.sizes), group.record.shard_rigs, tuple(attributes.items()))
        objects[f"{group.path}/{array.name}/{ROOT}"] = default_buffer_prototype().buffer.from_bytes(document)


@lru_cache(maxsize=256)
def _array_document(
    array: ArraySpec, shape: tuple[int, ...], shard_rigs: int, attributes: tuple[tuple[str, Any], ...]
) -> bytes:
    """An array's zarr.json. It is asked for whenever the manifest is written, and making it takes milliseconds."""
    objects: dict[str, Buffer] = {}
    create_array(MemoryStore(objects), "", array, shape, shard_rigs, **dict(attributes))
    return objects[ROOT].to_bytes()


def _decoding_attributes(array: ArraySpec, teacher: TeacherRecord) -> dict[str, int | float | str]:
    """What another client needs to decode the array."""
    if array.name == "bin_mean":
        return {"largest_code": mean_codes(teacher.targets.bins)}
    if array.name == "bin_spread":
        low, high = spread_limits(teacher.targets.bins)
        return {"spread_min": low, "spread_max": high}
    if array in RAW_SCALE and teacher.identity.kind.metric:
        return {"unit": "1/m"}
    return {}
