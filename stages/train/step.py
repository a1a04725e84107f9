"""One batch through the student and the losses."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.train.batch import TrainBatch
from stages.train.config import TrainConfig
from stages.train.losses import Projector, TeacherTargets, total_loss
from stages.train.precision import autocast
from stages.train.run_folder import TrainingData
from stages.train.student import Student, StudentOutput
from stages.train.targets import teacher_targets, usable_points


def batch_loss(
    student: Student,
    batch: TrainBatch,
    config: TrainConfig,
    data: TrainingData,
    progress: float = 0.0,
    projector: Projector | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch and its terms, both as scalars on the batch's device; `config` is resolved.

    `progress` is the part of training that is done, 0 to 1. `projector` is what feature regression trains beside the
    student.
    """
    with autocast(config.precision, batch.images.device):
        output = student(batch.images)
    points = usable_points(batch.lidar_depth_m, config.student)
    targets = _targets(batch, output, config, data)
    share = config.losses.teacher_share(progress)
    return total_loss(output, batch.lidar_depth_m, points, targets, config.losses, share, projector)


@torch.no_grad()
def _targets(
    batch: TrainBatch, output: StudentOutput, config: TrainConfig, data: TrainingData
) -> TeacherTargets | None:
    if batch.targets is None or data.teacher is None:
        return None
    height, width = output.coarse_depth_m.shape[-2:]
    return teacher_targets(
        batch.targets,
        batch.world,
        spec=data.teacher.targets,
        pairs=data.dataset.adjacent_pairs,
        grid=(height, width),
        sky_u=config.losses.sky_u,
        certain=config.losses.certainty,
        windows=batch.windows,
        limits_m=(config.student.d_min_m, config.student.d_max_m) if config.losses.needs_metric_teacher else None,
    )
