"""By what the rigs that a student was trained on are known again, in whatever cache and under whatever names."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from cache_schema import Cache, FrameReader
from cache_schema.durable import write_atomic

TRAINED_RIGS = "trained_rigs.bin"
_NOTHING = 0
"""Where a rig's images do not tell."""
_STORED = np.dtype("<u8")


def rig_marks(cache: Cache, split: str) -> UInt64[np.ndarray, "rig 2"]:
    """For each rig of a split, a digest of what dataset, scene and sample are called, and one of what it shows.

    The dataset's version belongs to the former, for all datasets in folders of one's own are called alike.
    The latter is of the lengths of its JPEG files: those of six different images agree by chance in one of 10¹⁵
    pairs or so. It is 0 where images are stored raw, or all alike, as where every lens is covered.
    """
    frames, identity = cache.split(split), cache.manifest.dataset
    dataset = f"{identity.name}\0{identity.version}"
    marks = [(_name(dataset, frames, i), _content(frames, i)) for i in range(len(frames))]
    return np.array(marks, np.uint64).reshape(-1, 2)


def keep_trained_rigs(run: Path, splits: Iterable[tuple[Cache, str]]) -> None:
    """Write beside a run's records which rigs it learns from."""
    marks = np.unique(np.concatenate([rig_marks(cache, split) for cache, split in splits]), axis=0)
    stored = marks.astype(_STORED).tobytes()
    write_atomic(run / TRAINED_RIGS, _checksum(stored) + stored)


def count_trained(run: Path, cache: Cache, split: str) -> int | None:
    """How many rigs of a split a run has learned from; None where it has no list, or a damaged one."""
    try:
        stored = (run / TRAINED_RIGS).read_bytes()
    except OSError:
        return None
    checksum, stored = stored[: _STORED.itemsize], stored[_STORED.itemsize :]
    if checksum != _checksum(stored):
        return None
    trained = np.frombuffer(stored, _STORED)
    marks = rig_marks(cache, split)
    known = np.isin(marks, trained) & (marks != _NOTHING)
    return int(known.any(axis=1).sum())


def _name(dataset: str, frames: FrameReader, i: int) -> int:
    return _digest("\0".join((dataset, frames.scene(i), frames.sample(i))).encode())


def _content(frames: FrameReader, i: int) -> int:
    lengths = frames.image_lengths(i)
    if lengths is None or len(set(lengths.tolist())) == 1:
        return _NOTHING
    return _digest(lengths.astype("<i8").tobytes())


def _digest(data: bytes) -> int:
    return int.from_bytes(_checksum(data), "little")


def _checksum(data: bytes) -> bytes:
    return sha256(data).digest()[: _STORED.itemsize]
