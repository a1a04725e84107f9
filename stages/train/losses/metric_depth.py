"""What the metric teacher says in metres, in one L_gt with the LiDAR points: labels where there is no point."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.losses.masked_mean import masked_mean
from stages.train.losses.silog import MEAN_WEIGHT, ROOM, log_error


def joint_silog(
    depth_m: Float[Tensor, "B V H W"],
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
    coarse_depth_m: Float[Tensor, "B V h w"],
    label_m: Float[Tensor, "B V h w"],
    label_mask: Bool[Tensor, "B V h w"],
    weight: float,
) -> Float[Tensor, ""]:
    """L_gt over LiDAR points and labelled cells together; all cells count `weight` times as much as all points.

    So the loss depends neither on how dense the LiDAR is nor on how fine the cells are, and the more rigs of a batch
    have LiDAR, the less a cell counts. All depths in metres. Where there are only points, or only cells, it is
    `silog` of these; 0 where there is neither.
    """
    points, cells = log_error(depth_m, truth_m, truth_mask), log_error(coarse_depth_m, label_m, label_mask)
    share = torch.stack([_any(truth_mask), weight * _any(label_mask)])
    share = share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
    mean = share[0] * masked_mean(points, truth_mask) + share[1] * masked_mean(cells, label_mask)
    variance = share[0] * masked_mean((points - mean).square(), truth_mask)
    variance = variance + share[1] * masked_mean((cells - mean).square(), label_mask)
    return (variance + MEAN_WEIGHT * mean.square() + ROOM).sqrt() - math.sqrt(ROOM)


def _any(mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """1 where it holds anywhere, in any process, else 0."""
    return masked_mean(torch.ones_like(mask, dtype=torch.float32), mask)
