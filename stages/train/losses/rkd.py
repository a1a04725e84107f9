"""A rival: relational knowledge distillation (RKD, Park et al., CVPR 2019, arXiv 1904.05068).

What is related is our choice, for a cache need not keep features of the teacher: the examples are tokens of all views
of a rig, `TOKEN_GRID` per view. A token of the teacher is the average of its bin probabilities over a cell of
that grid (without own car and sky), one of the student the average of its encoder's last features there. The two
live in different spaces; RKD compares only distances and angles within each.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import huber_loss

from stages.train.losses.masked_mean import masked_mean
from stages.view_relation import pool_tokens

TOKEN_GRID = (2, 4)
"""Rows and columns of tokens per view: 48 of six views, so 110,000 angles per rig."""

ANGLE_WEIGHT = 2.0
"""Weight of angles beside distances, as in the paper."""

_ROOM = 1e-12
"""Least squared distance: the root's slope at 0 is infinite."""


def student_tokens(features: Float[Tensor, "B V C hf wf"]) -> Float[Tensor, "B N C"]:
    """Tokens of all views of a rig, one after the other."""
    return pool_tokens(features, TOKEN_GRID).flatten(1, 2)


def teacher_tokens(
    probability: Float[Tensor, "B V K h w"], mask: Bool[Tensor, "B V h w"]
) -> tuple[Float[Tensor, "B N K"], Bool[Tensor, "B N"]]:
    """Bin probabilities averaged over the grid's cells where `mask` holds, and which tokens have any such pixel."""
    inside = mask[:, :, None].to(probability.dtype)
    share = pool_tokens(inside, TOKEN_GRID)
    tokens = pool_tokens(probability * inside, TOKEN_GRID) / share.clamp(min=torch.finfo(share.dtype).tiny)
    return tokens.flatten(1, 2), (share > 0).flatten(1)


def distance_difference(
    student: Float[Tensor, "B N C"], teacher: Float[Tensor, "B N K"], valid: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """Huber difference of the distances between tokens, each divided by its rig's mean distance (eq. 4 to 6).

    Over pairs of different tokens for which `valid` holds; 0 where there are none. A common scale falls out.
    """
    pairs = _pairs(valid)
    difference = huber_loss(_distance(student, pairs), _distance(teacher, pairs), reduction="none")
    return masked_mean(difference, pairs)


def angle_difference(
    student: Float[Tensor, "B N C"], teacher: Float[Tensor, "B N K"], valid: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """Huber difference of the cosines of the angles that three tokens i, j, k form at j (eq. 7 to 9).

    Over triples of different tokens for which `valid` holds; 0 where there are none.
    """
    pairs = _pairs(valid)
    triples = pairs[:, :, :, None] & pairs[:, :, None, :] & pairs[:, None, :, :]  # B, j, i, k
    difference = huber_loss(_cosine(student), _cosine(teacher), reduction="none")
    return masked_mean(difference, triples)


def _pairs(valid: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N N"]:
    others = ~torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    return valid[:, :, None] & valid[:, None, :] & others


def _distance(tokens: Float[Tensor, "B N C"], pairs: Bool[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
    squared = (tokens[:, :, None] - tokens[:, None, :]).square().sum(dim=-1)
    distance = squared.clamp(min=_ROOM).sqrt()
    return distance / masked_mean(distance, pairs, dim=(1, 2)).clamp(min=_ROOM)


def _cosine(tokens: Float[Tensor, "B N C"]) -> Float[Tensor, "B N N N"]:
    """Cosine of the angle at j between i and k, as [b, j, i, k]."""
    away = tokens[:, None, :] - tokens[:, :, None]  # B, j, i, C
    length = away.square().sum(dim=-1, keepdim=True).clamp(min=_ROOM).sqrt()
    unit = away / length
    return unit @ unit.transpose(-1, -2)
