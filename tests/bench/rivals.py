"""The tools that others read training samples with, fed with the records of `tests.bench.content`.

They are no part of the environment: `make rivals` installs tests/bench/rivals.txt into .rivals, and this module
puts that folder at the end of the import path, where it can replace nothing. Each tool stores a record in its own
way, in shards of as many rigs as the cache's, and decodes all of it but the JPEG files, which stay bytes.
"""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.bench.content import SHARD_RIGS, Record, Value

PACKAGES = Path(__file__).parents[2] / ".rivals"
Pass = Callable[[], Iterable[Record]]
"""Reads every record once, in order."""
Write = Callable[[Any, Path, Sequence[Record]], None]
"""Stores records in a folder, with the tool's module."""


@dataclass(frozen=True)
class Rival:
    """A tool in one of its settings, and the faster of its ways to read in order."""

    name: str
    project: str
    package: str
    write: Write
    reader: Callable[[Any, Path], Pass]


def load(package: str) -> Any:
    """Import a rival. Raises ImportError where it is not installed, and whatever else its import raises."""
    if PACKAGES.is_dir() and str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))
    try:
        return _import(package)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] in (package, "torchvision")]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        _TORCHVISION.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return _import(package)


_TORCHVISION = torch.library.Library("torchvision", "FRAGMENT")
"""Of torchvision, which MosaicML streaming imports, PyPI's wheel for Linux holds operators that need CUDA.

Beside a torch for CPUs they do not load, and the import fails on two that it wants to know by name. To declare
them is enough: nothing here calls them.
"""


def _import(package: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(package)


def _write_litdata(compression: str | None = None, level: str | None = None) -> Write:
    def write(litdata: Any, folder: Path, records: Sequence[Record]) -> None:
        writer = litdata.streaming.writer.BinaryWriter(
            str(folder), chunk_size=SHARD_RIGS, compression=compression, compression_level=level
        )
        for index, record in enumerate(records):
            writer.add_item(index, dict(record))
        writer.done()
        writer.merge()

    return write


def _litdata(litdata: Any, folder: Path) -> Pass:
    return litdata.StreamingDataset(str(folder)).__iter__  # by index it takes a third longer


def _write_mds(compression: str | None = None) -> Write:
    def write(streaming: Any, folder: Path, records: Sequence[Record]) -> None:
        columns = {name: _mds_column(value) for name, value in records[0].items()}
        limit = SHARD_RIGS * max(sum(map(_mds_bytes, record.values())) for record in records)
        with streaming.MDSWriter(out=str(folder), columns=columns, compression=compression, size_limit=limit) as writer:
            for record in records:
                writer.write(dict(record))

    return write


def _mds_column(value: Value) -> str:
    return f"ndarray:{value.dtype.name}" if isinstance(value, np.ndarray) else type(value).__name__


def _mds_bytes(value: Value) -> int:
    return 64 + (value.nbytes if isinstance(value, np.ndarray) else len(value) if isinstance(value, bytes) else 0)


def _mds(streaming: Any, folder: Path) -> Pass:
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=False, batch_size=1, num_canonical_nodes=1)
    return lambda: (dataset[i] for i in range(len(dataset)))  # its iterator takes a tenth longer


def _write_webdataset(*, compressed: bool) -> Write:
    def write(webdataset: Any, folder: Path, records: Sequence[Record]) -> None:
        folder.mkdir()
        with webdataset.ShardWriter(str(folder / "%06d.tar"), maxcount=SHARD_RIGS, verbose=0) as writer:
            for index, record in enumerate(records):
                writer.write({"__key__": f"{index:06d}", **_tar_members(record, compressed)})

    return write


def _tar_members(record: Record, compressed: bool) -> dict[str, object]:
    arrays = {name: value for name, value in record.items() if isinstance(value, np.ndarray)}
    members: dict[str, object] = {f"{name}.jpg": value for name, value in record.items() if isinstance(value, bytes)}
    members["json"] = {name: value for name, value in record.items() if isinstance(value, str | int)}
    if not compressed:
        return members | {f"{name}.npy": array for name, array in arrays.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return members | {"npz": buffer.getvalue()}


def _webdataset(webdataset: Any, folder: Path) -> Pass:
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    dataset = webdataset.WebDataset(shards, shardshuffle=False).decode()
    return lambda: map(_from_tar, dataset)


def _from_tar(members: dict[str, Any]) -> Record:
    flat = {name.partition(".")[0]: value for name, value in members.items() if not name.startswith("__")}
    return {**flat, **flat.pop("json"), **flat.pop("npz", {})}


RIVALS = (
    Rival("LitData", "litdata", "litdata", _write_litdata(), _litdata),
    Rival("LitData, zstd", "litdata", "litdata", _write_litdata("zstd"), _litdata),
    Rival("LitData, zstd by sample", "litdata", "litdata", _write_litdata("zstd", "sample"), _litdata),
    Rival("MosaicML", "mosaicml-streaming", "streaming", _write_mds(), _mds),
    Rival("MosaicML, zstd", "mosaicml-streaming", "streaming", _write_mds("zstd"), _mds),
    Rival("webdataset, .npy", "webdataset", "webdataset", _write_webdataset(compressed=False), _webdataset),
    Rival("webdataset, .npz", "webdataset", "webdataset", _write_webdataset(compressed=True), _webdataset),
)
