"""L_vr: the student's view relation against the teacher's (VRKD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cache_schema.manifest import RelationOf
from stages.train.losses.masked_mean import masked_mean
from stages.view_relation import pool_tokens, view_relation

SHARPNESS = 10.0
"""Inverse temperature of `softmax`: cosines of tokens differ by tenths."""


def relation_distance(
    features: Float[Tensor, "B V C hf wf"],
    teacher: Float[Tensor, "B P T T"],
    pairs: Sequence[tuple[int, int]],
    token_grid: tuple[int, int],
    kind: Literal["cosine", "centred", "softmax"] = "cosine",
    *,
    facing: bool = False,
    of: RelationOf = "tokens",
    whole: Bool[Tensor, "B V"] | None = None,
) -> Float[Tensor, ""]:
    """How far the cosine similarities R_ij of P adjacent pairs are from the teacher's; 0 where there is no pair.

    `of` says what the teacher's relation compares, and so what the student's does. Only pairs of views that are both
    `whole` count, if that is given.

    `cosine`: mean squared difference. `centred`: the same after the means of rows and columns are taken off, since
    networks differ in how alike all their tokens are. `softmax`: mean KL, in nats, of what each token of one view
    resembles in the other. With `facing`, only between the half of view i towards view j and that of j towards i: in
    a pair (i, j), j is the next one counter-clockwise. Which of these the paper takes is not known.
    """
    student = view_relation(pool_tokens(features, token_grid), pairs, of, whole)
    if facing:
        student, teacher = _facing(student, token_grid), _facing(teacher, token_grid)
    if kind == "softmax":
        each = 0.5 * (_divergence(student, teacher, -1) + _divergence(student, teacher, -2))
    elif kind == "centred":
        each = (_centred(student) - _centred(teacher)).square()
    else:
        each = (student - teacher).square()
    counted = torch.ones_like(each, dtype=torch.bool)
    if whole is not None:
        related = whole[:, [i for i, _ in pairs]] & whole[:, [j for _, j in pairs]]
        counted &= related.reshape(*related.shape, *[1] * (each.ndim - 2))
    return masked_mean(each, counted)


def _facing(relation: Float[Tensor, "B P T T"], token_grid: tuple[int, int]) -> Float[Tensor, "B P S S"]:
    """Rows of the left half of view i, columns of the right half of view j; a middle column belongs to both."""
    rows, columns = token_grid
    half = -(-columns // 2)
    place = torch.arange(rows * columns, device=relation.device).reshape(rows, columns)
    left, right = place[:, :half].flatten(), place[:, columns - half :].flatten()
    return relation[:, :, left][:, :, :, right]


def _centred(relation: Float[Tensor, "B P S S"]) -> Float[Tensor, "B P S S"]:
    rows, columns = relation.mean(dim=-1, keepdim=True), relation.mean(dim=-2, keepdim=True)
    return relation - rows - columns + rows.mean(dim=-2, keepdim=True)


def _divergence(student: Float[Tensor, "B P S S"], teacher: Float[Tensor, "B P S S"], dim: int) -> Tensor:
    """KL(teacher‖student) of the softmax along `dim`."""
    ours, theirs = (SHARPNESS * student).log_softmax(dim), (SHARPNESS * teacher).log_softmax(dim)
    return (theirs.exp() * (theirs - ours)).sum(dim)
