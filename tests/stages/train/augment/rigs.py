"""Rigs that were never cached: batches of noise, and readers that hand out a rig made by a test."""

from __future__ import annotations

import numpy as np
import torch

from cache_schema import BinSpec, CachedRig, CachedTargets, FrameReader, LidarView, TargetReader, TargetSpec
from cache_schema.soft_targets import Moments, Probabilities, encode, spread_limits
from stages.train.batch import EncodedTargets, TrainBatch

RINGS = {
    1: (),
    3: ((0, 1), (2, 0)),  # cameras in front, at the left and at the right: open at the back
    4: ((0, 1), (1, 2), (2, 3), (3, 0)),
    6: ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)),
}
"""Adjacent pairs of rigs by their number of views."""


def spec_of(
    size_hw: tuple[int, int], encoding: str = "moments", token_grid: tuple[int, int] = (2, 3), bins: int = 8
) -> TargetSpec:
    (height, width), spec = size_hw, BinSpec(count=bins)
    return TargetSpec(height=height, width=width, bins=spec, encoding=encoding, topk=3, token_grid=token_grid)


def random_targets(rng: np.random.Generator, spec: TargetSpec, views: int) -> EncodedTargets:
    shape = (1, views, spec.height, spec.width)
    if spec.encoding == "moments":
        target = Moments(rng.uniform(0, 1, shape), rng.uniform(*spread_limits(spec.bins), shape))
    else:
        dense = rng.exponential(size=(1, views, spec.bins.count, spec.height, spec.width))
        target = Probabilities(dense / dense.sum(axis=2, keepdims=True))
    tokens = spec.token_grid[0] * spec.token_grid[1]
    relation = rng.uniform(-1, 1, (1, len(RINGS[views]), tokens, tokens)).astype(np.float16)
    return EncodedTargets(
        encoded={name: torch.from_numpy(array) for name, array in encode(target, spec).items()},
        view_relation=torch.from_numpy(relation),
        whole=torch.from_numpy(rng.random((1, views)) < 0.7),
        feature=torch.from_numpy(rng.normal(size=(1, views, tokens, 5)).astype(np.float16)),
        scale_shift=torch.from_numpy(rng.uniform(0.01, 0.5, (1, views, 2)).astype(np.float32)),
    )


def random_batch(seed: int, views: int, spec: TargetSpec, windows: torch.Tensor | None = None) -> TrainBatch:
    rng = np.random.default_rng(seed)
    size = (views, 4 * spec.height, 4 * spec.width)
    return TrainBatch(
        images=torch.from_numpy(rng.integers(0, 256, (1, *size, 3), dtype=np.uint8)),
        lidar_depth_m=torch.from_numpy(rng.uniform(1, 80, (1, *size)).astype(np.float32)),
        world=torch.from_numpy(rng.random((1, *size)) < 0.99),
        windows=windows,
        targets=random_targets(rng, spec, views),
        rigs=("scene/sample",),
    )


def tensors(batch: TrainBatch) -> dict[str, torch.Tensor]:
    """All that a batch holds, by name."""
    found = {"images": batch.images, "lidar": batch.lidar_depth_m, "world": batch.world}
    if batch.windows is not None:
        found["windows"] = batch.windows
    if batch.targets is not None:
        found |= batch.targets.encoded
        found |= {"view_relation": batch.targets.view_relation, "whole": batch.targets.whole}
        if batch.targets.feature is not None:
            found["feature"] = batch.targets.feature
        if batch.targets.scale_shift is not None:
            found["scale_shift"] = batch.targets.scale_shift
    return found


def assert_same(one: TrainBatch, other: TrainBatch) -> None:
    assert tensors(one).keys() == tensors(other).keys()
    for name, value in tensors(one).items():
        assert torch.equal(value, tensors(other)[name]), name


class OneRig(FrameReader):
    """A split of one rig."""

    def __init__(self, images: np.ndarray, lidar: tuple[LidarView, ...], ego_mask: np.ndarray) -> None:
        poses = np.tile(np.eye(4), (len(images), 1, 1))
        self.rig = CachedRig(
            scene="scene",
            sample="sample",
            timestamp=0,
            images=images,
            lidar=lidar,
            intrinsics_px=np.tile(np.eye(3, dtype=np.float32), (len(images), 1, 1)),
            rig_from_camera=poses,
            world_from_camera=poses,
            world_from_rig=np.eye(4),
            ego_mask=ego_mask,
        )

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> CachedRig:
        return self.rig


class OneTarget(TargetReader):
    """What a teacher says about it."""

    def __init__(self, spec: TargetSpec, target: Moments, view_relation: np.ndarray) -> None:
        self.spec = spec
        self.targets = CachedTargets(encode(target, spec), view_relation)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> CachedTargets:
        return self.targets
