"""The one average that every loss goes through."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.reduce import sum_over_processes, together


def masked_mean(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int | tuple[int, ...] | None = None
) -> Float[Tensor, "..."]:
    """Mean of `x` where `mask` holds; 0, still part of the graph, where it holds nowhere.

    Over all axes, then also over all processes that train together: each holds some of the rigs of one batch. Or over
    the axes in `dim`, which stay with length 1. Values outside the mask may be anything, but their own backward must
    stay finite: replace what a logarithm or a root cannot take *before* taking it.
    """
    kept = torch.where(mask, x, 0)
    if dim is not None:
        return kept.sum(dim, keepdim=True) / mask.sum(dim, keepdim=True).clamp(min=1)
    total, count = kept.sum(), mask.sum()
    if together():
        both = sum_over_processes(torch.stack([total.double(), count.double()]))  # float32 counts to 16 million only
        total, count = both[0].to(total.dtype), both[1].to(total.dtype)
    return total / count.clamp(min=1)
