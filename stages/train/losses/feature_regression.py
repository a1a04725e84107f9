"""A rival: the teacher's features as the student's, through a projector (after FitNets, arXiv 1412.6550).

Other than there, the distance is the cosine's, as Depth Anything (arXiv 2401.10891) aligns features: the length of a
teacher's features means nothing to another network, and one weight then does for any teacher.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from stages.train.losses.masked_mean import masked_mean
from stages.view_relation import pool_tokens


class Projector(nn.Module):
    """From the channels of the student's encoder to the teacher's: trained beside the student, and no part of it."""

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(student_channels, teacher_channels)

    def forward(self, tokens: Float[Tensor, "B V T C"]) -> Float[Tensor, "B V T D"]:
        """Tokens of C channels as tokens of D. On averages over cells it is a 1 × 1 convolution before averaging."""
        projected: Tensor = self.linear(tokens)
        return projected


def feature_distance(
    features: Float[Tensor, "B V C hf wf"],
    teacher: Float[Tensor, "B V T D"],
    token_grid: tuple[int, int],
    projector: Projector,
    whole: Bool[Tensor, "B V"] | None = None,
) -> Float[Tensor, ""]:
    """1 − cosine of the angle between projected tokens of the student and the teacher's, averaged over all tokens.

    Of the views that are `whole`, if that is given.
    """
    distance = 1 - cosine_similarity(projector(pool_tokens(features, token_grid)), teacher, dim=-1)
    counted = torch.ones_like(distance, dtype=torch.bool)
    return masked_mean(distance, counted if whole is None else counted & whole[..., None])
