"""Every loss: its gradient is that of finite differences, and nothing is ever infinite or NaN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from cache_schema.manifest import RelationOf
from stages.train.config import LossConfig
from stages.train.losses import (
    Projector,
    angle_difference,
    bin_divergence,
    cross_depth,
    disparity_difference,
    distance_difference,
    feature_distance,
    joint_silog,
    masked_mean,
    metric_divergence,
    relation_distance,
    silog,
    total_loss,
)
from stages.train.losses.rkd import student_tokens, teacher_tokens
from tests.stages.train.losses.samples import (
    CELLS,
    PAIRS,
    STUDENT_CHANNELS,
    TEACHER_CHANNELS,
    B,
    H,
    V,
    W,
    depths,
    probabilities,
    student_output,
    teacher_targets,
)

SCALES = ("depth", "log_depth", "disparity")
KINDS = ("cosine", "centred", "softmax")


@dataclass(frozen=True)
class Rig:
    """What a rig gives the losses to compare with."""

    bins: int
    truth_m: Tensor
    points: Tensor
    cells: Tensor
    dtype: torch.dtype

    def random(self, *shape: int) -> Tensor:
        """Something the student said, away from the kinks of the losses."""
        return torch.randn(*shape, dtype=self.dtype)


def usual(dtype: torch.dtype, bins: int = 4) -> Rig:
    return Rig(bins, depths().to(dtype), torch.rand(B, V, H, W) > 0.3, torch.rand(CELLS) > 0.3, dtype)


def single(shape: tuple[int, ...]) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[0, 0, 1, 1] = True
    return mask


def none(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.bool)


def without_lidar(rig: Rig) -> Rig:
    return replace(rig, truth_m=torch.zeros_like(rig.truth_m), points=none(rig.points.shape))


def masked(rig: Rig) -> Rig:
    """The first view shows nothing but the own car and the sky."""
    second = torch.arange(V).reshape(1, V, 1, 1) > 0
    return replace(rig, points=rig.points & second, cells=rig.cells & second)


HARD: dict[str, Callable[[Rig], Rig]] = {
    "no LiDAR": without_lidar,
    "a masked view": masked,
    "all views masked": lambda rig: replace(rig, cells=none(CELLS)),
    "one pixel": lambda rig: replace(rig, points=single((B, V, H, W)), cells=single(CELLS)),
    "two bins": lambda rig: replace(rig, bins=2),
    "two bins, one pixel": lambda rig: replace(rig, bins=2, points=single((B, V, H, W)), cells=single(CELLS)),
}

Case = tuple[Callable[..., Tensor], tuple[Tensor, ...]]
"""A loss, and what it is a function of."""


def _divergence(rig: Rig, *, certainty: bool, temperature: float) -> Case:
    teacher, weight = probabilities(rig.bins).to(rig.dtype), torch.rand(CELLS).to(rig.dtype) if certainty else None

    def loss(logits: Tensor) -> Tensor:
        return bin_divergence(logits.log_softmax(dim=2), teacher, rig.cells, weight, temperature)

    return loss, (rig.random(B, V, rig.bins, *CELLS[2:]),)


def _cross(rig: Rig, combine: str) -> Case:
    teacher = probabilities(rig.bins).to(rig.dtype)

    def loss(gaps: Tensor) -> Tensor:
        return cross_depth(teacher, gaps.exp().cumsum(dim=-1).flip(-1), combine, rig.truth_m, rig.points)

    return loss, (rig.random(B, V, rig.bins),)


def _relation(rig: Rig, kind: str, *, facing: bool, of: RelationOf) -> Case:
    teacher = torch.rand(B, len(PAIRS), 6, 6, dtype=rig.dtype)
    return (
        lambda features: relation_distance(features, teacher, PAIRS, (2, 3), kind, facing=facing, of=of),
        (rig.random(B, V, 3, 4, 6),),
    )


def _disparity(rig: Rig) -> Case:
    teacher = torch.rand(CELLS, dtype=rig.dtype)
    return lambda student: disparity_difference(student, teacher, rig.cells), (rig.random(*CELLS),)


def _rkd(rig: Rig, difference: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Case:
    teacher, valid = teacher_tokens(probabilities(rig.bins).to(rig.dtype), rig.cells)
    return lambda features: difference(student_tokens(features), teacher, valid), (rig.random(B, V, 3, 4, 8),)


def _features(rig: Rig) -> Case:
    teacher, projector = rig.random(B, V, 4, TEACHER_CHANNELS), Projector(3, TEACHER_CHANNELS).to(rig.dtype)

    def loss(features: Tensor, *_: Tensor) -> Tensor:
        return feature_distance(features, teacher, (2, 2), projector)

    return loss, (rig.random(B, V, 3, 4, 6), *projector.parameters())


def _metric(rig: Rig) -> Case:
    centres_m = torch.linspace(60, 1, rig.bins, dtype=rig.dtype).expand(B, V, -1)
    inverse = torch.nn.functional.avg_pool2d(1 / rig.truth_m.clamp(min=1), 4)

    def loss(logits: Tensor) -> Tensor:
        return metric_divergence(logits.log_softmax(dim=2), centres_m, inverse, rig.cells, rig.truth_m, rig.points)

    return loss, (rig.random(B, V, rig.bins, *CELLS[2:]),)


def _joint(rig: Rig) -> Case:
    label_m = torch.rand(CELLS, dtype=rig.dtype) * 50 + 2

    def loss(depth: Tensor, coarse: Tensor) -> Tensor:
        return joint_silog(depth.exp(), rig.truth_m, rig.points, coarse.exp(), label_m, rig.cells, 0.7)

    return loss, (rig.random(B, V, H, W), rig.random(*CELLS))


LOSSES: dict[str, Callable[[Rig], Case]] = {
    "masked_mean": lambda rig: (lambda x: masked_mean(x, rig.points), (rig.random(B, V, H, W),)),
    "silog": lambda rig: (lambda x: silog(x.exp(), rig.truth_m, rig.points), (rig.random(B, V, H, W),)),
    **{
        f"divergence, certainty {certainty}, temperature {temperature}": lambda rig, c=certainty, t=temperature: (
            _divergence(rig, certainty=c, temperature=t)
        )
        for certainty in (False, True)
        for temperature in (1.0, 3.0)
    },
    **{f"cross, {scale}": lambda rig, scale=scale: _cross(rig, scale) for scale in SCALES},
    **{
        f"relation of {of}, {kind}, facing {facing}": lambda rig, k=kind, f=facing, of=of: _relation(
            rig, k, facing=f, of=of
        )
        for kind in KINDS
        for facing in (False, True)
        for of in get_args(RelationOf)
    },
    "disparity_difference": _disparity,
    "distance_difference": lambda rig: _rkd(rig, distance_difference),
    "angle_difference": lambda rig: _rkd(rig, angle_difference),
    "feature_distance": _features,
    "metric_divergence": _metric,
    "joint_silog": _joint,
}

of_every_loss = pytest.mark.parametrize("name", LOSSES)


@of_every_loss
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    loss, inputs = LOSSES[name](usual(torch.float64))
    leaves = [x.detach().requires_grad_() if not x.requires_grad else x for x in inputs]
    value = loss(*leaves)
    value.backward()
    assert all((x.grad != 0).any() for x in leaves), "there is something to compare"
    assert torch.autograd.gradcheck(loss, leaves)


@of_every_loss
@pytest.mark.parametrize("situation", HARD)
def test_losses_and_gradients_are_finite_where_there_is_hardly_anything(name: str, situation: str) -> None:
    loss, inputs = LOSSES[name](HARD[situation](usual(torch.float32)))
    leaves = [x.detach().requires_grad_() if not x.requires_grad else x for x in inputs]
    value = loss(*leaves)
    value.backward()
    assert value.isfinite()
    assert all(x.grad.isfinite().all() for x in leaves)


@pytest.mark.parametrize("situation", HARD)
def test_the_whole_loss_and_its_gradient_are_finite(situation: str) -> None:
    rig = HARD[situation](usual(torch.float32))
    output, teacher = student_output(rig.bins), teacher_targets(rig.bins, rig.cells)
    weights = LossConfig(pseudo_label=1, rkd=1, features=1, metric_kd=1)
    projector = Projector(STUDENT_CHANNELS, TEACHER_CHANNELS)
    total, terms = total_loss(output, rig.truth_m, rig.points, teacher, weights, projector=projector)
    total.backward()
    assert total.isfinite()
    of_the_method = {"lidar", "kl", "cross", "view_relation"}
    of_rivals = {"pseudo_label", "rkd_distance", "rkd_angle", "features", "metric_kd"}
    assert set(terms) == of_the_method | of_rivals
    assert output.features.grad.isfinite().all()
    assert output.context.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in projector.parameters())
    nothing = {"no LiDAR": ("lidar", "cross", "metric_kd"), "all views masked": ("kl", "pseudo_label", "metric_kd")}
    assert all(terms[term] == 0 for term in nothing.get(situation, ()))
