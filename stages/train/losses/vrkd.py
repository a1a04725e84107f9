"""L_vr: the student's view relation against the teacher's (VRKD)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from stages.train.losses.masked_mean import masked_mean
from stages.view_relation import pool_tokens, view_relation


def relation_distance(
    features: Float[Tensor, "B V C hf wf"],
    teacher: Float[Tensor, "B P T T"],
    pairs: Sequence[tuple[int, int]],
    token_grid: tuple[int, int],
) -> Float[Tensor, ""]:
    """Mean squared difference of the cosine similarities R_ij over the P adjacent pairs.

    Which distance the paper takes is not known; the squared one is our choice. 0 where there is no pair.
    """
    student = view_relation(pool_tokens(features, token_grid), pairs)
    squared = (student - teacher) ** 2
    return masked_mean(squared, torch.ones_like(squared, dtype=torch.bool))
