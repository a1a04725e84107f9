"""Reading whole training samples in one process: this cache, and what others use, against decoding alone.

A sample is all that `Cache` hands out for a rig: six decoded images, LiDAR, calibration, poses, ego masks, and the
teacher's targets, `moments` and the view relation. Every tool holds the same JPEG files and the same encoded
targets, and reads rig by rig in the order they are stored, from files in the page cache, without worker processes.
The others are measured twice: with the cache's JPEG decoder lent to them, and with Pillow, which MosaicML and
webdataset themselves decode with.
In a round each reads all rigs once, in turns, and ratios are taken within a round; what is shown are medians.

Alone, once `make rivals` has run: FSMDE_REAL_DATA=… python -m tests.bench.samples
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cache_schema import Cache, RigFrames
from cache_schema.soft_targets import expand
from stages.cache_teacher.datasets.ddad import DdadDataset
from tests.bench import rivals
from tests.bench.content import (
    TARGETS,
    Decode,
    Rig,
    Sample,
    decoded,
    make_rigs,
    sample_of,
    with_pillow,
    with_simplejpeg,
    write_cache,
)
from tests.bench.measure import folder_bytes
from tests.bench.rivals import RIVALS, Rival

RIGS = 48
ROUNDS, ROUNDS_EXPANDED = 7, 5
TURN = 8  # rigs: half a shard, so that a pass finds the processor's caches as its own reading leaves them
CEILING = "(decoding alone)"
OURS = "this cache"
WITHOUT_LIDAR = "this cache, images and targets"


@dataclass(frozen=True)
class Reader:
    """A way to read every sample once, and the bytes it keeps: as stored, and from the first reading on."""

    samples: Callable[[Decode], Iterable[Sample]]
    stored: int
    once_read: int


def table(real: Sequence[RigFrames], folder: Path) -> Table:
    """Measure on rigs made from real ones. Without the rivals' packages, only the cache and the ceilings."""
    rigs = make_rigs(real, RIGS)
    readers, remarks = _readers(rigs, folder)
    plain = _seconds(
        {CEILING: partial(_decoded, rigs), WITHOUT_LIDAR: partial(_images_and_targets, Cache(folder / "zarr"))}
        | {name: partial(reader.samples, with_simplejpeg) for name, reader in readers.items()},
        ROUNDS,
    )
    with_their_own = _seconds({name: partial(reader.samples, with_pillow) for name, reader in readers.items()}, ROUNDS)
    expanded = _seconds(
        {CEILING: partial(_decoded_and_expanded, rigs)}
        | {name: partial(_expanded, reader) for name, reader in readers.items()},
        ROUNDS_EXPANDED,
    )
    shown = Table(
        "", "MB per rig", "rigs/s", "of decoding", "cache ÷ it", "with Pillow", "cache ÷ it",
        "expanded", "of both",
    )  # fmt: skip
    shown.title = "Reading whole training samples in one process"
    for name, times in plain.items():
        row = [name, "", f"{RIGS / median(times):.1f}", _ratio(plain[CEILING], times), _ratio(times, plain[OURS])]
        if name in readers:
            row[1] = f"{readers[name].stored / RIGS / 1e6:.2f}"
        if name in with_their_own and name != OURS:
            theirs = with_their_own[name]
            row += [f"{RIGS / median(theirs):.1f}", _ratio(theirs, with_their_own[OURS])]
        elif name in expanded:
            row += ["", ""]
        if name in expanded:
            row += [f"{RIGS / median(expanded[name]):.1f}", _ratio(expanded[CEILING], expanded[name])]
        shown.add_row(*row)
    spread = max(_spread(times[CEILING], times[name]) for times in (plain, expanded) for name in readers)
    medians = f"{RIGS} rigs; medians of {ROUNDS} and {ROUNDS_EXPANDED} rounds, quartiles within ±{spread:.0%}"
    shown.caption = "\n".join([medians, *_grown(readers), *remarks])
    shown.caption_justify = "left"
    return shown


def _readers(rigs: Sequence[Rig], folder: Path) -> tuple[dict[str, Reader], list[str]]:
    """Readers that gave back exactly what was stored, and remarks: versions, and why a rival is missing."""
    expected = [sample_of(rig.record(), with_simplejpeg) for rig in rigs]
    readers = {OURS: _checked(folder / "zarr", _write_ours(folder / "zarr", rigs), expected)}
    remarks = {}
    for number, rival in enumerate(RIVALS):
        try:
            samples = _write_rival(rival, folder / str(number), rigs)
            readers[rival.name] = _checked(folder / str(number), samples, expected)
            remarks[rival.project] = f"{rival.project} {version(rival.project)}"
        except ImportError as error:
            remarks[rival.project] = f"{rival.project} not measured: {error}; try: make rivals"
        except Exception as error:  # whatever a foreign tool may raise is no reason to lose the other rows
            remarks[rival.name] = f"{rival.name} not measured: {type(error).__name__}: {error}"
    return readers, list(remarks.values())


def _write_ours(path: Path, rigs: Sequence[Rig]) -> Callable[[Decode], Iterable[Sample]]:
    write_cache(path, rigs)
    cache = Cache(path)
    frames, targets = cache.split("train"), cache.targets("train", "t")
    return lambda _: ((frames[i], targets[i]) for i in range(len(frames)))


def _write_rival(rival: Rival, path: Path, rigs: Sequence[Rig]) -> Callable[[Decode], Iterable[Sample]]:
    module = rivals.load(rival.package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rival.write(module, path, [rig.record() for rig in rigs])
        records = rival.reader(module, path)
    return lambda decode: (sample_of(record, decode) for record in records())


def _checked(path: Path, samples: Callable[[Decode], Iterable[Sample]], expected: Sequence[Sample]) -> Reader:
    """The reader, once it has read every sample; this also brings the files into the page cache."""
    stored = folder_bytes(path)
    for i, (sample, right) in enumerate(zip(samples(with_pillow), expected, strict=True)):
        if not _equal(sample, right):
            raise ValueError(f"rig {i} is not what was stored")
    return Reader(samples, stored, folder_bytes(path))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in b)
    if isinstance(b, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if is_dataclass(b):
        return all(_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(b))
    return bool(a == b)


def _decoded(rigs: Sequence[Rig]) -> Iterator[object]:
    return (decoded(rig.files, with_simplejpeg) for rig in rigs)


def _decoded_and_expanded(rigs: Sequence[Rig]) -> Iterator[object]:
    return ((decoded(rig.files, with_simplejpeg), expand(rig.targets, TARGETS)) for rig in rigs)


def _images_and_targets(cache: Cache) -> Iterator[object]:
    frames, targets = cache.split("train"), cache.targets("train", "t")
    return ((frames.images(i), targets[i]) for i in range(len(frames)))


def _expanded(reader: Reader) -> Iterator[object]:
    return ((rig, expand(targets.encoded, TARGETS)) for rig, targets in reader.samples(with_simplejpeg))


def _seconds(passes: Mapping[str, Callable[[], Iterable[object]]], rounds: int) -> dict[str, list[float]]:
    """Wall time of each pass in every round.

    Within a round the passes take turns, so that other work on the machine disturbs all alike.
    """
    # As in training, where batches come and go: without it glibc hands each freed image back to the kernel, and what
    # a pass takes depends on which other one allocated something large before.
    np.ones(30_000_000, np.uint8)
    times: dict[str, list[float]] = {name: [0.0] * rounds for name in passes}
    names = list(passes)
    for turn in range(rounds):
        running = {name: iter(make()) for name, make in passes.items()}
        for step in range(0, RIGS, TURN):
            first = (turn + step // TURN) % len(names)
            for name in names[first:] + names[:first]:
                start = time.perf_counter()
                for _ in range(TURN):
                    next(running[name])
                times[name][turn] += time.perf_counter() - start
    return times


def _ratio(numerators: Sequence[float], denominators: Sequence[float]) -> str:
    """Median of the ratios within each round."""
    return f"{median(_ratios(numerators, denominators)):.2f}"


def _spread(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """How far the quartiles of the ratios are from their median, as a share of it."""
    low, middle, high = quantiles(_ratios(numerators, denominators), n=4, method="inclusive")
    return max(high - middle, middle - low) / middle


def _ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def _grown(readers: Mapping[str, Reader]) -> list[str]:
    return [
        f"{name}: unpacked beside when first read, {reader.once_read / RIGS / 1e6:.2f} MB per rig from then on"
        for name, reader in readers.items()
        if reader.once_read > 1.01 * reader.stored
    ]


def main() -> None:
    data = os.environ.get("FSMDE_REAL_DATA")
    if not data:
        sys.exit("needs real frames: set FSMDE_REAL_DATA to the folder that holds ddad_sample")
    dataset = DdadDataset(Path(data, "ddad_sample"))
    real = [dataset.load("train", ref) for ref in dataset.samples("train")]
    with tempfile.TemporaryDirectory() as folder:
        Console(width=120).print(table(real, Path(folder)))


if __name__ == "__main__":
    main()
