"""The one average that every loss goes through."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean of `x` where `mask` holds; 0, still part of the graph, where it holds nowhere.

    Values outside the mask may be anything, but their own backward must stay finite: replace what a logarithm
    or a root cannot take *before* taking it.
    """
    return torch.where(mask, x, 0).sum() / mask.sum().clamp(min=1)
