"""A rival: the teacher's disparity as a label of unknown scale and shift."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.losses.masked_mean import masked_mean

KEPT = 0.8
"""Share of an image's pixels that counts: the fifth that agrees least is left to the student, as in MiDaS."""

NARROWEST = 1e-3
"""Smallest scale that is divided by (1/m for the student): an image of one disparity has no shape to align, and an
untrained student predicts nothing else."""


def disparity_difference(
    student: Float[Tensor, "B V h w"], teacher: Float[Tensor, "B V h w"], mask: Bool[Tensor, "B V h w"]
) -> Float[Tensor, ""]:
    """Scale- and shift-invariant trimmed difference of two disparities where `mask` holds; 0 where it holds nowhere.

    Half the mean of |d̂ − d̂*|, each disparity aligned per image by d̂ = (d − t)/s with its median t = median(d) and
    its mean absolute deviation s = mean |d − t|, over the pixels that differ least: eq. 5 to 7 of MiDaS (Ranftl et
    al., arXiv 1907.01341). Our mean is over the pixels kept, in all images together. Scale and shift of either
    disparity fall out; near is large in both. The gradient passes through the student's alignment too.
    """
    with torch.no_grad():
        label = aligned(teacher, mask)
    difference = (aligned(student, mask) - label).abs()
    return 0.5 * masked_mean(difference, _least(difference.detach(), mask))


def aligned(disparity: Float[Tensor, "B V h w"], mask: Bool[Tensor, "B V h w"]) -> Float[Tensor, "B V h w"]:
    """Disparity of each image with median 0 and mean absolute deviation 1 where `mask` holds; in float32 or better."""
    precise = disparity.to(torch.promote_types(disparity.dtype, torch.float32))
    inside = precise.masked_fill(~mask, torch.nan).flatten(2)
    median = inside.nanmedian(dim=2).values.nan_to_num(0)[..., None, None]  # of no pixel at all: NaN
    centred = precise - median
    return centred / masked_mean(centred.abs(), mask, dim=(2, 3)).clamp(min=NARROWEST)


def _least(difference: Float[Tensor, "B V h w"], mask: Bool[Tensor, "B V h w"]) -> Bool[Tensor, "B V h w"]:
    """The pixels of `mask` whose difference is among the smallest of their image."""
    inside = difference.masked_fill(~mask, torch.nan).flatten(2)
    limit = inside.nanquantile(KEPT, dim=2)[..., None, None]  # of no pixel at all: NaN, which nothing is below
    return mask & (difference <= limit)
