"""Rigs of a cache as the metric teacher sees them: cues of each view, and LiDAR points on the target grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from cache_schema import Cache
from cache_schema.errors import ConfigError
from cache_schema.soft_targets import expand, expected_position, says_nothing
from stages.train.config import MetricTeacherConfig
from stages.train.lidar_grid import rasterise
from stages.train.metric_teacher.cues import Points, RigCues
from stages.train.metric_teacher.ground import fit_ground, ground_height, ground_inverse_depth

GROUND_PROBES = 64
"""Rigs, spread over a split, whose LiDAR points tell the height of the ground."""


@dataclass(frozen=True)
class TeacherRig:
    """What a teacher says of one rig: bin probabilities p_T, their expected u, and the cues of each view.

    `world` is False where a cell holds any of the own car.
    """

    scene: str
    probability: Float32[Tensor, "V K h w"]
    u: Float32[Tensor, "V h w"]
    world: Bool[Tensor, "V h w"]
    cues: RigCues


class RigReader:
    """Reads the rigs of a split, with a teacher's targets; `config` is as asked, with what follows from the cache.

    Raises ConfigError for targets by rank, and the errors of `Cache.targets`, among them CacheMissingError for a raw
    scale or features that the cache lacks.
    """

    def __init__(self, cache: Cache, split: str, teacher: str, config: MetricTeacherConfig) -> None:
        known, dataset = cache.manifest.teachers, cache.manifest.dataset
        features = config.features
        if features is None:
            features = config.raw_scale and teacher in known and known[teacher].targets.feature_channels > 0
        self.frames = cache.split(split)
        self.targets = cache.targets(split, teacher, features=features, raw_scale=config.raw_scale)
        self.spec = self.targets.spec
        if self.spec.normalisation == "rank":
            raise ConfigError(
                f"{cache.location}: targets of teacher {teacher} are ranks, which keep no distances, so they cannot be "
                "made metric; cache it once more, under another --teacher-name, with targets.normalisation=median"
            )
        d_max_m = config.d_max_m or dataset.far_m
        if config.d_min_m >= d_max_m:
            raise ConfigError(f"d_min_m {config.d_min_m:g} must be less than d_max_m {d_max_m:g}")
        self.config = config.model_copy(update={"features": features, "d_max_m": d_max_m})
        self.limits_m = config.d_min_m, d_max_m
        self.cameras = len(dataset.cameras)
        self._native_size = dataset.native_size
        self._grid = self.spec.height, self.spec.width

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, rig: int, ground_z_m: float | None) -> TeacherRig:
        """What the teacher says of a rig. Without a height of the ground in the rig frame that is not used.

        Raises CacheCorruptError where stored bytes are damaged.
        """
        stored = self.targets[rig]
        probability = torch.from_numpy(np.asarray(expand(stored.encoded, self.spec), np.float32))
        u, world = expected_position(probability, self.spec.bins), self._world(rig)
        known = torch.from_numpy(~np.asarray(says_nothing(stored.encoded)))
        low, span, feature = torch.zeros(self.cameras), torch.ones(self.cameras), torch.zeros(self.cameras, 0)
        if stored.disparity_low is not None and stored.disparity_span is not None:
            low, span = (torch.from_numpy(each.mean(-1)) for each in (stored.disparity_low, stored.disparity_span))
        if stored.feature is not None:
            feature = torch.from_numpy(stored.feature.astype(np.float32).mean(axis=1))
        ground = torch.zeros(self.cameras, 3)
        if self.config.ground and ground_z_m is not None:
            k, pose = self.frames.intrinsics_px(rig), self.frames.rig_from_camera(rig)
            plane = torch.from_numpy(ground_inverse_depth(k, pose, ground_z_m, self._native_size, self._grid))
            ground = fit_ground(u, plane, world)
        cues = RigCues(known, low, span, feature, ground)
        return TeacherRig(self.frames.scene(rig), probability, u, world, cues)

    def points(self, rig: int, seen: TeacherRig) -> Points:
        """LiDAR points in cells without any of the own car, of views that the teacher knows.

        Of several points in a cell the last counts; where a view has more than asked for, they are drawn by chance.
        """
        u, usable = seen.u.numpy(), (seen.world & seen.cues.known[:, None, None]).numpy()
        random = np.random.default_rng((self.config.seed, rig))
        found = np.zeros((2, self.cameras, self.config.points), np.float32)
        for view, lidar in enumerate(self.frames.lidar(rig)):
            depth_m = rasterise(lidar, self._native_size, self._grid)
            cells = np.flatnonzero((depth_m > self.limits_m[0]) & (depth_m < self.limits_m[1]) & usable[view])
            chosen = random.permutation(cells)[: self.config.points]
            found[:, view, : len(chosen)] = u[view].flat[chosen], depth_m.flat[chosen]
        return Points(*torch.from_numpy(found))

    def ground_height_m(self, rigs: Sequence[int]) -> float | None:
        """Median height of the ground in the rig frame, from the LiDAR of some rigs; None where none has enough."""
        frames = self.frames
        probes = {rigs[i] for i in np.linspace(0, len(rigs) - 1, GROUND_PROBES).astype(int).tolist()}
        found = [ground_height(frames.lidar(i), frames.intrinsics_px(i), frames.rig_from_camera(i)) for i in probes]
        known = [height for height in found if height is not None]
        return float(np.median(known)) if known else None

    def _world(self, rig: int) -> Bool[Tensor, "V h w"]:
        """False where a cell of the target grid holds any of the own car."""
        mask = torch.from_numpy(self.frames.ego_mask(rig).astype(np.float32))
        return adaptive_avg_pool2d(mask[:, None], self._grid)[:, 0] == 1
