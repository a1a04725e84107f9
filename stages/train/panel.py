"""A picture of one rig as the student sees it: its views side by side, for the eye to follow training."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate, max_pool2d

from cache_schema import Cache
from cache_schema.soft_targets import expand, expected_position
from stages.train.batch import TrainBatch
from stages.train.config import StudentConfig
from stages.train.plan import TrainPlan
from stages.train.precision import autocast
from stages.train.run_folder import TrainingData
from stages.train.student import Student
from stages.train.validation import predicting, watched_rigs

WIDEST = 320
"""Pixels that a view may be wide; larger ones are shown at a part of their size."""

_COLOURS = "magma"


class Panel:
    """Draws the same rig again and again: the first that is validated on, else the first that is trained on."""

    def __init__(self, plan: TrainPlan) -> None:
        config = plan.config
        split = config.split if config.validation is None else config.validation.split
        labelled = config.teacher in Cache(plan.cache).manifest.splits[split].teachers_complete
        self._plan = plan
        self._batch = watched_rigs(plan, split, config.teacher if labelled else None)[0]

    def draw(self, student: Student, device: torch.device) -> UInt8[np.ndarray, "height width 3"]:
        """From above: images, predicted depth, the teacher's disparity, LiDAR points, places of the bin centres.

        The colours of depth are those of its logarithm between d_min_m (bright) and d_max_m; bin centres, one white
        line each, lie on that scale from left (d_max_m) to right. Where there is no teacher or no bin, the row is not
        there.
        """
        batch, config = self._batch.to(device), self._plan.config
        with predicting(student), autocast(config.precision, device):
            output = student(batch.images)
        height, width = _shown_size(batch.images.shape[2], batch.images.shape[3])
        rows = [
            _resized(batch.images[0].movedim(-1, 1).float(), (height, width)).movedim(1, -1).byte().cpu().numpy(),
            _coloured(_resized(_level(output.depth_m[0], config.student)[:, None], (height, width))[:, 0]),
        ]
        disparity = _disparity(batch, self._plan.data)
        if disparity is not None:
            rows.append(_coloured(_resized(disparity[:, None], (height, width))[:, 0]))
        rows.append(_points(batch.lidar_depth_m[0], config.student, (height, width)))
        if output.bins is not None:
            rows.append(_centres(_level(output.bins.centres_m[0], config.student), (height // 4, width)))
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


def _shown_size(height: int, width: int) -> tuple[int, int]:
    part = math.ceil(width / WIDEST)
    return height // part, width // part


def _resized(pictures: Float[Tensor, "V C H W"], size: tuple[int, int]) -> Float[Tensor, "V C h w"]:
    return interpolate(pictures, size=size, mode="nearest-exact")


def _level(depth_m: Float[Tensor, "V ..."], config: StudentConfig) -> Float[Tensor, "V ..."]:
    """0 at d_max_m, 1 at d_min_m, even in the logarithm."""
    return (config.d_max_m / depth_m).log() / math.log(config.d_max_m / config.d_min_m)


def _coloured(level: Float[Tensor, "V h w"]) -> UInt8[np.ndarray, "V h w 3"]:
    coloured: np.ndarray = colormaps[_COLOURS](level.clamp(0, 1).cpu().numpy(), bytes=True)[..., :3]
    return coloured


def _disparity(batch: TrainBatch, data: TrainingData) -> Float[Tensor, "V h w"] | None:
    """The teacher's expected position on its bins, 0 to 1."""
    if batch.targets is None or data.teacher is None:
        return None
    spec = data.teacher.targets
    expected: Tensor = expected_position(expand(batch.targets.encoded, spec), spec.bins)
    return expected[0]


def _points(
    lidar_depth_m: Float[Tensor, "V H W"], config: StudentConfig, size: tuple[int, int]
) -> UInt8[np.ndarray, "V h w 3"]:
    """LiDAR points, three pixels wide to be seen, on grey; of several in a place the nearest."""
    nearness = torch.where(lidar_depth_m > 0, 1 / lidar_depth_m, 0)
    nearness = max_pool2d(adaptive_max_pool2d(nearness, size), 3, stride=1, padding=1)
    pictures = _coloured(_level(1 / nearness, config))
    pictures[(nearness == 0).cpu().numpy()] = 64
    return pictures


def _centres(level: Float[Tensor, "V K"], size: tuple[int, int]) -> UInt8[np.ndarray, "V h w 3"]:
    height, width = size
    pictures = np.zeros((len(level), height, width, 3), np.uint8)
    places = (level.clamp(0, 1) * (width - 1)).round().long().cpu().numpy()
    for picture, columns in zip(pictures, places, strict=True):
        picture[:, columns] = 255
    return pictures
