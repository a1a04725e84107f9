"""L_gt: the scale-aware log loss on LiDAR points."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.losses.masked_mean import masked_mean

MEAN_WEIGHT = 0.15
"""λ of AdaBins (arXiv 2011.14141, eq. 4): how much of the mean error counts besides its variance."""

ROOM = 2.0**-20
"""Added under the root, whose slope at 0 is infinite. Its own root is exact, so a perfect depth costs exactly 0."""


def silog(
    depth_m: Float[Tensor, "*shape"], truth_m: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """√(mean(e²) − 0.85 · mean(e)²) with e = ln(depth) − ln(truth), where `mask` holds; 0 where it holds nowhere.

    Both in metres and positive where `mask` holds. As AdaBins without its factor 10. Computed as
    √(variance + 0.15 · mean²), which does not lose digits, in float32 or better.
    """
    error = log_error(depth_m, truth_m, mask)
    mean = masked_mean(error, mask)
    variance = masked_mean((error - mean).square(), mask)
    return (variance + MEAN_WEIGHT * mean.square() + ROOM).sqrt() - math.sqrt(ROOM)


def log_error(
    depth_m: Float[Tensor, "*shape"], truth_m: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """ln(depth) − ln(truth) where `mask` holds, else 0; in float32 or better."""
    return _log(depth_m, mask) - _log(truth_m, mask)


def _log(depth_m: Tensor, mask: Tensor) -> Tensor:
    precise = depth_m.to(torch.promote_types(depth_m.dtype, torch.float32))
    return precise.masked_fill(~mask, 1).log()
