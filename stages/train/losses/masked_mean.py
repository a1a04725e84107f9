"""The one average that every loss goes through."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], dim: int | tuple[int, ...] | None = None
) -> Float[Tensor, "..."]:
    """Mean of `x` where `mask` holds; 0, still part of the graph, where it holds nowhere.

    Over all axes, or over those in `dim`, which stay with length 1. Values outside the mask may be anything, but
    their own backward must stay finite: replace what a logarithm or a root cannot take *before* taking it.
    """
    kept = torch.where(mask, x, 0)
    if dim is None:
        return kept.sum() / mask.sum().clamp(min=1)
    return kept.sum(dim, keepdim=True) / mask.sum(dim, keepdim=True).clamp(min=1)
