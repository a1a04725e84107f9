"""Logit distillation in metric depth: the teacher's scale from LiDAR, its shape as a target over the student's bins."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from stages.train.losses.metric_kd import FEWEST_POINTS, SIGMA_GAPS, fit_disparity, metric_divergence, normal_bins

SIZE, GRID, BINS = (16, 24), (4, 6), 16
CENTRES_M = torch.logspace(math.log10(120), 0, BINS).expand(1, 2, -1)
EVERYWHERE = torch.ones(1, 2, *GRID, dtype=torch.bool)


def scene(scale: float = 1.0, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Disparity of two views on the grid, depth in metres at the pixels, and which pixels have a point: every other."""
    inverse = torch.rand(1, 2, *GRID) * 0.3 + 0.02
    truth_m = 1 / interpolate(inverse, SIZE, mode="bilinear", align_corners=False)
    points = (torch.arange(SIZE[0] * SIZE[1]) % 2 == 0).reshape(SIZE).expand(1, 2, *SIZE)
    return (inverse - shift) / scale, truth_m, points


def uniform() -> Tensor:
    return torch.full((1, 2, BINS, *GRID), -math.log(BINS))


def test_the_fit_finds_scale_and_shift() -> None:
    disparity, truth_m, points = scene(0.4, 0.01)
    scale, shift, fitted = fit_disparity(disparity, EVERYWHERE, truth_m, points)
    assert fitted.all()
    torch.testing.assert_close(scale, torch.full((1, 2, 1, 1), 0.4))
    torch.testing.assert_close(shift, torch.full((1, 2, 1, 1), 0.01), atol=1e-4, rtol=0)


@given(scale=st.floats(0.5, 5), shift=st.floats(-0.5, 0.5))
def test_scale_and_shift_of_the_teacher_do_not_matter(scale: float, shift: float) -> None:
    disparity, truth_m, points = scene()
    log_student = torch.randn(1, 2, BINS, *GRID).log_softmax(dim=2)
    plain = metric_divergence(log_student, CENTRES_M, disparity, EVERYWHERE, truth_m, points)
    moved = metric_divergence(log_student, CENTRES_M, scale * disparity + shift, EVERYWHERE, truth_m, points)
    assert plain > 0.1
    torch.testing.assert_close(moved, plain, atol=1e-3, rtol=1e-3)


def test_a_student_that_says_the_metric_depth_pays_nothing() -> None:
    disparity, truth_m, points = scene(0.4, 0.01)
    inverse = 0.4 * disparity + 0.01
    target = normal_bins(inverse, CENTRES_M)
    geometric_mean = (target * CENTRES_M.log()[..., None, None]).sum(dim=2).exp()
    inside = (inverse > 1 / 60) & (inverse < 0.5)
    torch.testing.assert_close(geometric_mean[inside], 1 / inverse[inside], rtol=0.02, atol=0)
    right = metric_divergence(target.log(), CENTRES_M, disparity, EVERYWHERE, truth_m, points)
    assert right.item() == pytest.approx(0, abs=1e-4)
    assert metric_divergence(uniform(), CENTRES_M, disparity, EVERYWHERE, truth_m, points) > 0.5


def test_a_target_is_as_wide_as_it_says() -> None:
    target = normal_bins(torch.full((1, 2, 1, 1), 1 / 11.0), CENTRES_M)[0, 0, :, 0, 0]
    gap = math.log(120) / (BINS - 1)
    x = CENTRES_M[0, 0].log()
    deviation = (target * (x - (target * x).sum()).square()).sum().sqrt()
    assert deviation.item() == pytest.approx(SIGMA_GAPS * gap, rel=0.02)


def test_what_lies_beyond_the_centres_is_at_the_last_one() -> None:
    target = normal_bins(torch.tensor([-0.3, 0.0, 50.0]).expand(1, 2, 1, 3), CENTRES_M)
    assert target[0, 0, :, 0].argmax(dim=0).tolist() == [0, 0, BINS - 1]


def test_a_view_that_cannot_be_fitted_teaches_nothing() -> None:
    disparity, truth_m, points = scene()
    few = points.clone()
    few[0, 0] = False
    few[0, 0].flatten()[: FEWEST_POINTS - 1] = True
    swapped, constant = disparity.clone(), disparity.clone()
    swapped[0, 0] *= -1
    constant[0, 0] = 0.5
    second = EVERYWHERE.clone()
    second[0, 0] = False
    alone = metric_divergence(uniform(), CENTRES_M, disparity, second, truth_m, points)
    for unfit, with_points in ((disparity, few), (swapped, points), (constant, points)):
        _, _, fitted = fit_disparity(unfit, EVERYWHERE, truth_m, with_points)
        assert fitted.flatten().tolist() == [False, True]
        torch.testing.assert_close(
            metric_divergence(uniform(), CENTRES_M, unfit, EVERYWHERE, truth_m, with_points), alone
        )


def test_without_lidar_there_is_nothing_to_learn() -> None:
    disparity, truth_m, points = scene()
    student = uniform().requires_grad_()
    loss = metric_divergence(
        student, CENTRES_M, disparity, EVERYWHERE, torch.zeros_like(truth_m), torch.zeros_like(points)
    )
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_points_on_the_own_car_and_in_the_sky_do_not_count() -> None:
    disparity, truth_m, points = scene()
    mask = EVERYWHERE.clone()
    mask[..., -1, :] = False
    wrong = truth_m.clone()
    wrong[..., 12:, :] = 3.0
    for found, expected in zip(
        fit_disparity(disparity, mask, wrong, points), fit_disparity(disparity, mask, truth_m, points), strict=True
    ):
        assert torch.equal(found, expected)


def test_the_centres_are_not_taught() -> None:
    disparity, truth_m, points = scene()
    centres_m, student = CENTRES_M.clone().requires_grad_(), uniform().requires_grad_()
    metric_divergence(student, centres_m, disparity, EVERYWHERE, truth_m, points).backward()
    assert centres_m.grad is None
    assert student.grad.any()
