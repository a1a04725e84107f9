"""Evaluation beside the networks: seconds for a rig of DDAD's size, and memory by the length of a split.

The first times everything that one rig takes but the network, at native resolution, for a prediction as large as the
cached images: truth, overlaps, sampling, all metrics, whole and by part, under every scaling. The second evaluates the
teacher of a cache, whose maps are read, in a process of its own.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from cache_schema import CachedRig, DatasetIdentity, RigFrames
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.execute import execute
from stages.evaluate.plan import plan
from stages.evaluate.prediction import Prediction, compare
from stages.evaluate.protocol import protocol
from stages.evaluate.scoring import Scorer
from stages.evaluate.truth import lidar_truth
from stages.progress import Silent
from tests.bench.content import make_rigs, write_cache
from tests.bench.measure import fastest_ms
from tests.bench.planning import peak_mb

LENGTHS = (50, 500)
STORED = (384, 640)


def table(rigs: Sequence[RigFrames], folder: Path) -> Table:
    """Measure on real rigs, and on caches of rigs made from them."""
    shown = Table("", "", title="Evaluation without the networks")
    points = sum(len(view.depth_m) for view in rigs[0].lidar)
    for name in ("native", "network"):
        shown.add_row(f"one rig, {points} LiDAR points, protocol {name}", f"{score_ms(rigs[0], name):.0f} ms")
    context = multiprocessing.get_context("spawn")
    for length in LENGTHS:
        write_cache(folder / str(length), make_rigs(rigs, length))
        with context.Pool(1) as pool:
            peak, before = pool.apply(measure, (folder / str(length),))
        shown.add_row(f"{length} rigs: memory for this, at the peak", f"{peak - before:.0f} MB")
    return shown


def score_ms(frames: RigFrames, name: str) -> float:
    """Milliseconds to score one rig."""
    views, native_size = len(frames.images), frames.images[0].shape[:2]
    ring = tuple((view, (view + 1) % views) for view in range(views))
    cameras = tuple(f"camera_{view}" for view in range(views))
    dataset = DatasetIdentity(name="ddad", version="1", cameras=cameras, adjacent_pairs=ring, native_size=native_size)
    rig, by = cached(frames), protocol(name, dataset)
    depth_m = np.random.default_rng(0).uniform(2, 150, (views, *STORED)).astype(np.float32)

    def score() -> None:
        scorer = Scorer("student", "metric", cameras, by, pairs=ring)
        truth = lidar_truth(rig, by, dataset)
        scorer.add(compare(Prediction(depth_m, native_size, by.clamp_m[1]), truth), truth)
        scorer.scores()
        scorer.cross_view_scores()

    return fastest_ms(score)


def cached(frames: RigFrames) -> CachedRig:
    """A rig as a cache gives it, its images black."""
    views = len(frames.images)
    return CachedRig(
        scene=frames.scene,
        sample=frames.sample,
        timestamp=frames.timestamp,
        images=np.zeros((views, *STORED, 3), np.uint8),
        lidar=frames.lidar,
        intrinsics_px=frames.intrinsics_px,
        rig_from_camera=frames.rig_from_camera,
        world_from_camera=frames.world_from_camera,
        world_from_rig=frames.world_from_rig,
        ego_mask=np.ones((views, *STORED), bool),
    )


def measure(cache: Path) -> tuple[float, float]:
    """Peak memory of the process, and what it had before, in MB."""
    before = peak_mb()
    execute(plan(EvaluateConfig(cache=str(cache), split="train", device="cpu")), Silent(), code_version="bench")
    return peak_mb(), before
