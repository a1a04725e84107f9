"""One rig as its draw says, beyond its window and its colours, through which it has been read already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from stages.train.augment.draws import Draw
from stages.train.augment.mirror import Pairs, mirror_rig
from stages.train.augment.window import WHOLE
from stages.train.batch import EncodedTargets, TrainBatch


def augment_rig(batch: TrainBatch, draw: Draw, pairs: Pairs, token_grid: tuple[int, int] | None) -> TrainBatch:
    """A batch of one rig, of which `pairs` of views are neighbours, after the rest of its draw.

    Raises ConfigError where it is to be mirrored and its ring of cameras is not its own mirror image.
    """
    if draw.depth_scale != 1:
        batch = scale_depth(batch, draw.depth_scale)
    if draw.window not in (None, WHOLE):
        batch = replace(batch, targets=_not_whole(batch.targets, range(batch.images.shape[1])))
    if draw.blanked:
        batch = blank_views(batch, draw.blanked)
    return mirror_rig(batch, pairs, token_grid) if draw.mirrored else batch


def scale_depth(batch: TrainBatch, factor: float) -> TrainBatch:
    """Rigs in which everything is so many times as far, to LiDAR and to the metric teacher."""
    targets = batch.targets
    if targets is not None and targets.scale_shift is not None:
        targets = replace(targets, scale_shift=targets.scale_shift / factor)
    return replace(batch, lidar_depth_m=batch.lidar_depth_m * factor, targets=targets)


def blank_views(batch: TrainBatch, views: Sequence[int]) -> TrainBatch:
    """Rigs whose cameras `views` have failed: black for the student, and nothing is learned from them.

    What cannot be seen cannot be learned. The other views keep all their losses: they learn to do without.
    """
    blank = torch.zeros(batch.images.shape[1], dtype=torch.bool)
    blank[list(views)] = True
    return replace(
        batch,
        images=batch.images.masked_fill(blank[:, None, None, None], 0),
        lidar_depth_m=batch.lidar_depth_m.masked_fill(blank[:, None, None], 0),
        world=batch.world & ~blank[:, None, None],
        targets=_not_whole(batch.targets, views),
    )


def _not_whole(targets: EncodedTargets | None, views: Sequence[int]) -> EncodedTargets | None:
    """Targets whose tokens, and so their relations, no longer hold for these views."""
    if targets is None:
        return None
    whole = targets.whole.clone()
    whole[:, list(views)] = False
    return replace(targets, whole=whole)
