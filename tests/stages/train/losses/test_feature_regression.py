"""Feature regression: the student's tokens, projected, point where the teacher's do."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from stages.train.config import LossConfig
from stages.train.losses import Projector, feature_distance, total_loss
from stages.view_relation import pool_tokens
from tests.stages.train.losses.samples import (
    CELLS,
    STUDENT_CHANNELS,
    TEACHER_CHANNELS,
    B,
    V,
    depths,
    student_output,
    teacher_targets,
)

GRID = (2, 2)


def test_it_is_nothing_for_tokens_that_point_the_same_way_and_two_for_the_opposite() -> None:
    features, projector = torch.randn(B, V, STUDENT_CHANNELS, 4, 6), Projector(STUDENT_CHANNELS, TEACHER_CHANNELS)
    same = projector(pool_tokens(features, GRID)).detach()
    length = torch.rand(B, V, 4, 1) * 100 + 1
    assert feature_distance(features, same * length, GRID, projector).item() == pytest.approx(0, abs=1e-6)
    assert feature_distance(features, -same, GRID, projector).item() == pytest.approx(2)


def test_it_is_the_mean_over_tokens() -> None:
    features, projector = torch.randn(B, V, STUDENT_CHANNELS, 4, 6), Projector(STUDENT_CHANNELS, TEACHER_CHANNELS)
    other = projector(pool_tokens(features, GRID)).detach()
    other[0, 1, 3] *= -1
    assert feature_distance(features, other, GRID, projector).item() == pytest.approx(2 / (V * 4))


def test_projecting_after_averaging_is_a_1_by_1_convolution_before() -> None:
    features, projector = torch.randn(B, V, STUDENT_CHANNELS, 4, 6), Projector(STUDENT_CHANNELS, TEACHER_CHANNELS)
    weight, bias = projector.linear.weight[:, :, None, None], projector.linear.bias
    convolved = torch.nn.functional.conv2d(features.flatten(0, 1), weight, bias).unflatten(0, (B, V))
    torch.testing.assert_close(projector(pool_tokens(features, GRID)), pool_tokens(convolved, GRID))


def test_student_and_projector_learn_together() -> None:
    features = torch.randn(B, V, STUDENT_CHANNELS, 4, 6, requires_grad=True)
    projector, teacher = Projector(STUDENT_CHANNELS, TEACHER_CHANNELS), torch.randn(B, V, 4, TEACHER_CHANNELS)
    optimizer = torch.optim.Adam([features, *projector.parameters()], lr=0.05)
    first = feature_distance(features, teacher, GRID, projector)
    for _ in range(60):
        optimizer.zero_grad()
        loss = feature_distance(features, teacher, GRID, projector)
        loss.backward()
        optimizer.step()
    assert loss < 0.05 < first


@pytest.mark.parametrize("lacks", ["features", "projector"])
def test_what_it_needs_is_named(lacks: str) -> None:
    truth, teacher = depths(), teacher_targets(4, torch.ones(CELLS, dtype=torch.bool))
    projector = Projector(STUDENT_CHANNELS, TEACHER_CHANNELS)
    if lacks == "features":
        teacher = dataclasses.replace(teacher, features=None)
    weights = LossConfig(ckd=0, view_relation=0, features=1)
    with pytest.raises(ValueError, match="features and a projector"):
        total_loss(
            student_output(4),
            truth,
            truth > 0,
            teacher,
            weights,
            projector=None if lacks == "projector" else projector,
        )


def test_views_not_seen_whole_stay_out_of_the_mean() -> None:
    features, teacher, projector = torch.randn(2, 3, 4, 4, 6), torch.randn(2, 3, 6, 5), Projector(4, 5)
    whole = torch.tensor([[True], [False]]).expand(2, 3)
    found = feature_distance(features, teacher, (2, 3), projector, whole)
    torch.testing.assert_close(found, feature_distance(features[:1], teacher[:1], (2, 3), projector))
