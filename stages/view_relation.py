"""The view relation: how much each part of one view resembles each part of its neighbour in the ring.

Stage 1 stores the teacher's, stage 2 matches the student's to it. The digests of arXiv 2512.08700 say only
that the relations between adjacent views are transferred; cosine similarity of pooled tokens, or of what sets them
apart from the rest of the rig, is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from cache_schema.manifest import RelationOf


def pool_tokens(features: Float[Tensor, "*lead C hf wf"], token_grid: tuple[int, int]) -> Float[Tensor, "*lead T C"]:
    """Average a feature map over a grid of rows × columns, row by row: T = rows · columns tokens.

    Averages in float32 at least, whatever the precision of the features. A map coarser than the grid repeats its cells.
    """
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    pooled = adaptive_avg_pool2d(precise.flatten(0, -4), token_grid)  # N, C, rows, columns
    tokens = pooled.flatten(2).transpose(1, 2)  # N, T, C
    return tokens.reshape(*features.shape[:-3], *tokens.shape[1:])


def view_relation(
    tokens: Float[Tensor, "*lead V T C"],
    pairs: Sequence[tuple[int, int]],
    of: RelationOf = "tokens",
    whole: Bool[Tensor, "*lead V"] | None = None,
) -> Float[Tensor, "*lead P T T"]:
    """Cosine similarities R_ij of every token of view i with every token of view j, for P pairs (i, j).

    Element [..., p, s, t] compares token s of view i with token t of view j and lies in [−1, 1]; a token
    that is zero everywhere resembles nothing. P is 0 where no pair is given.

    `deviations` are tokens less the mean over all tokens of their rig, or of its `whole` views, if that is given. A
    network's tokens have most of their length in common, so the cosines of tokens are all near 1.
    """
    unit = normalize(_deviations(tokens, whole) if of == "deviations" else tokens, dim=-1)
    first, second = [i for i, _ in pairs], [j for _, j in pairs]
    return unit[..., first, :, :] @ unit[..., second, :, :].transpose(-1, -2)


def _deviations(
    tokens: Float[Tensor, "*lead V T C"], whole: Bool[Tensor, "*lead V"] | None
) -> Float[Tensor, "*lead V T C"]:
    if whole is None:
        return tokens - tokens.mean(dim=(-3, -2), keepdim=True)
    share = whole / whole.sum(dim=-1, keepdim=True).clamp(min=1)
    return tokens - (tokens.mean(dim=-2, keepdim=True) * share[..., None, None]).sum(dim=-3, keepdim=True)
