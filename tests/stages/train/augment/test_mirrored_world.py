"""The mirrored sample of a rig is the sample of the mirrored rig in the mirrored world."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from cache_schema import LidarView
from cache_schema.soft_targets import Moments, certain_spread
from stages.train.augment.mirror import mirror_rig, mirrored_views
from stages.train.loader import RigDataset
from stages.view_relation import pool_tokens, view_relation
from tests.dgp_world import Town, build_town, render
from tests.stages.train.augment.rigs import RINGS, OneRig, OneTarget, spec_of, tensors

YAW_DEG = (0.0, 55.0, 120.0, 180.0, -120.0, -55.0)
IMAGE, NATIVE = (48, 64), (96, 128)
SPEC = spec_of((12, 16), token_grid=(3, 4))
OTHER_SIDE = np.array([1.0, -1.0, 1.0])


class MirroredTown(Town):
    """A town with left and right exchanged: a ray looks into the town from the other side."""

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return super().cast(origin * OTHER_SIDE, directions * OTHER_SIDE)

    def colour(self, points: np.ndarray, surface: np.ndarray) -> np.ndarray:
        return super().colour(points * OTHER_SIDE, surface)


def world_from_camera(yaw_deg: float) -> np.ndarray:
    """Of a car on the x axis of the world that heads along it; its cameras are as far left as right."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    pose = np.eye(4)
    pose[:3] = np.column_stack([(s, -c, 0), (0, 0, -1), (c, s, 0), (10 + 0.6 * c, 0.5 * s, 1.5)])
    return pose


def own_car() -> np.ndarray:
    mask = np.ones((6, *IMAGE), bool)
    mask[1, 40:, :20] = mask[3, 44:, 10:] = False
    return mask


def sample(town: Town, ego_mask: np.ndarray) -> RigDataset:
    """What a rig in the town sees, and what a perfect teacher says of it."""
    height, width = NATIVE
    intrinsics = np.array([[70, 0, width / 2], [0, 70, height / 2], [0, 0, 1]])
    seen = [render(town, world_from_camera(yaw), intrinsics, NATIVE) for yaw in YAW_DEG]
    pixels = np.stack([image for image, _ in seen]).astype(int).reshape(6, IMAGE[0], 2, IMAGE[1], 2, 3)
    images = (pixels.sum(axis=(2, 4)) // 4).astype(np.uint8)
    depth = np.stack([depth for _, depth in seen])
    disparity = (1 / depth).reshape(6, 12, 8, 16, 8).max(axis=(2, 4))
    u = disparity / disparity.max(axis=(1, 2), keepdims=True)
    tokens = pool_tokens(torch.from_numpy(images).movedim(-1, 1).float() - 100, SPEC.token_grid)
    relation = view_relation(tokens[None], RINGS[6])[0].numpy().astype(np.float16)
    return RigDataset(
        OneRig(images, tuple(points(view) for view in depth), ego_mask),
        OneTarget(SPEC, Moments(u, certain_spread(u, SPEC.bins)), relation),
        native_size=NATIVE,
        image_size=IMAGE,
    )


def points(depth: np.ndarray) -> LidarView:
    """One in each pixel of the image that is not sky, on a pattern of native pixels that is its own mirror image."""
    v, u = np.nonzero(np.isfinite(depth))
    kept = (v % 2 == 0) & np.isin(u % 4, (0, 3))
    return LidarView(np.stack([u, v], axis=1)[kept].astype(np.uint16), depth[v, u][kept].astype(np.float32))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mirrored_sample_is_a_sample_of_the_mirrored_world(seed: int):
    town = build_town(seed, 0)
    mirrored_town = MirroredTown(**{field.name: getattr(town, field.name) for field in fields(town)})
    here = sample(town, own_car())[0]
    there = tensors(sample(mirrored_town, own_car()[mirrored_views(6), :, ::-1].copy())[0])
    found = tensors(mirror_rig(here, RINGS[6], SPEC.token_grid))
    assert (here.lidar_depth_m > 0).sum(dim=(2, 3)).min() > 20
    assert not torch.equal(found["images"], here.images)
    for name in ("images", "world", "bin_mean", "bin_spread", "whole"):
        assert torch.equal(found[name], there[name]), name
    assert torch.equal(found["lidar"] > 0, there["lidar"] > 0)
    torch.testing.assert_close(found["lidar"], there["lidar"])
    torch.testing.assert_close(found["view_relation"], there["view_relation"], atol=1e-3, rtol=0)
