"""Encodings of soft targets: bytes per rig, and what they lose, on real frames.

The teacher is Depth Anything V2 Small at its real size with random weights, since no published one may be needed
to run this. Its maps are rougher than a trained teacher's, so these sizes are on the safe side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from cache_schema import RigFrames, TargetSpec
from cache_schema.arrays import TARGET_ARRAYS
from cache_schema.metadata import encode_shard
from cache_schema.soft_targets import Moments, encode, expand, normal_bins
from stages.cache_teacher.config import TargetSettings
from stages.cache_teacher.soft_targets import soft_target
from stages.cache_teacher.teachers import load_teacher
from tests.tiny_teachers import write_random_teacher

GRID = (96, 160)
KINDS: tuple[tuple[str, dict[str, object]], ...] = (
    ("moments", {"encoding": "moments"}),
    ("topk, k=8", {"encoding": "topk", "topk": 8}),
    ("topk, k=4", {"encoding": "topk", "topk": 4}),
    ("dense", {"encoding": "dense"}),
)


def table(rigs: Sequence[RigFrames], folder: Path) -> Table:
    shown = Table(
        "encoding", "MB per rig", "raw dense ÷ this", "mean KL, nats", title="Soft targets: 6 views, 96 × 160, K = 64"
    )
    targets = random_teacher_targets(rigs, folder)
    exact = [normal_bins(t.mean, t.spread, spec({}).bins) for t in targets]
    sizes = {name: stored_bytes(targets, spec(kind)) / len(rigs) for name, kind in KINDS}
    raw = 2 * exact[0].size
    for name, kind in KINDS:
        expanded = [expand(encode(t, spec(kind)), spec(kind)) for t in targets]
        kl = np.mean([mean_kl(p, q) for p, q in zip(exact, expanded, strict=True)])
        shown.add_row(name, f"{sizes[name] / 1e6:.3f}", f"{raw / sizes[name]:.1f}", f"{kl:.1e}")
    shown.add_row("(dense float16, not compressed: raw)", f"{raw / 1e6:.3f}", "1.0", "")
    return shown


def spec(kind: dict[str, object]) -> TargetSpec:
    normalisation = TargetSettings().normalisation
    return TargetSpec.model_validate({"height": GRID[0], "width": GRID[1], "normalisation": normalisation, **kind})


def random_teacher_targets(rigs: Sequence[RigFrames], folder: Path) -> list[Moments]:
    teacher = load_teacher(str(write_random_teacher(folder / "teacher")))
    everywhere = np.ones((len(rigs[0].images), *GRID), bool)
    targets = [soft_target(teacher(rig.images).predictions, everywhere, spec({}))[0] for rig in rigs]
    return [target for target in targets if isinstance(target, Moments)]


def stored_bytes(targets: Sequence[Moments], spec: TargetSpec) -> int:
    """Bytes of the arrays in one shard, as the cache lays them out and compresses them; metadata left out."""
    encoded = [encode(target, spec) for target in targets]
    blocks = ((array, np.stack([row[array.name] for row in encoded])) for array in TARGET_ARRAYS[spec.encoding])
    return sum(len(encode_shard(array, block, len(targets))) for array, block in blocks)


def mean_kl(p: np.ndarray, q: np.ndarray) -> float:
    """Mean over pixels of KL(p‖q); nothing below 1e-8, which float16 cannot hold, counts."""
    p, q = np.maximum(p.astype(np.float64), 1e-8), np.maximum(q.astype(np.float64), 1e-8)
    return float(np.mean(np.sum(p * np.log(p / q), axis=-3)))
