"""What the cache tells of a view that its scale may follow from, and the LiDAR points that it is learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Float32
from torch import Tensor


@dataclass(frozen=True)
class _Rigs:
    """Tensors of one rig, or of N rigs."""


Rigs = TypeVar("Rigs", bound=_Rigs)


def stack(rigs: Sequence[Rigs]) -> Rigs:
    """Several rigs as one object."""
    kind = type(rigs[0])
    return kind(*(torch.stack([getattr(rig, field.name) for rig in rigs]) for field in fields(kind)))


def choose(rigs: Rigs, index: Tensor) -> Rigs:
    """Some of N rigs, by number or by mask."""
    return type(rigs)(*(getattr(rigs, field.name)[index] for field in fields(rigs)))


@dataclass(frozen=True)
class RigCues(_Rigs):
    """Cues of the V views of a rig.

    `known` is False where the teacher says nothing. `low` and `span` (disparity = low + u · span) are means over the
    test-time views, 0 and 1 where raw scales are not used. `feature` is the mean token, without a channel where
    features are not used; `ground` is what `fit_ground` finds, all 0 where it is not used.
    """

    known: Bool[Tensor, "*N V"]
    low: Float32[Tensor, "*N V"]
    span: Float32[Tensor, "*N V"]
    feature: Float32[Tensor, "*N V C"]
    ground: Float32[Tensor, "*N V 3"]


@dataclass(frozen=True)
class Points(_Rigs):
    """LiDAR points, at most P in a view: the expected u of their cells, and depth in metres, 0 where there is none."""

    u: Float32[Tensor, "*N V P"]
    depth_m: Float32[Tensor, "*N V P"]
