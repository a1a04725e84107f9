import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.train.config import LossConfig
from stages.train.losses import (
    TeacherTargets,
    bin_divergence,
    cross_depth,
    masked_mean,
    relation_distance,
    silog,
    total_loss,
)
from stages.train.student import StudentOutput
from stages.train.student.bins import metric_depth

B, V, H, W = 1, 2, 8, 12
PAIRS = ((0, 1), (1, 0))


def depths() -> torch.Tensor:
    return torch.rand(B, V, H, W) * 50 + 2


def probabilities(bins: int) -> torch.Tensor:
    return torch.randn(B, V, bins, H // 4, W // 4).softmax(dim=2)


def student_output(bins: int, dtype: torch.dtype = torch.float32) -> StudentOutput:
    logits = torch.randn(B, V, bins, H // 4, W // 4, dtype=dtype, requires_grad=True)
    gaps = torch.randn(B, V, bins, dtype=dtype, requires_grad=True)
    centres = 100 * gaps.exp().cumsum(dim=-1).flip(-1)
    log_probability = logits.log_softmax(dim=2)
    return StudentOutput(
        log_probability=log_probability,
        centres_m=centres,
        depth_m=metric_depth(log_probability.exp(), centres, (H, W)),
        features=torch.randn(B, V, 5, 2, 3, dtype=dtype, requires_grad=True),
    )


def teacher_targets(bins: int, mask: torch.Tensor) -> TeacherTargets:
    return TeacherTargets(
        probability=probabilities(bins),
        mask=mask,
        view_relation=torch.rand(B, len(PAIRS), 4, 4),
        pairs=PAIRS,
        token_grid=(2, 2),
    )


def test_masked_mean_is_the_mean_of_what_the_mask_keeps():
    x = torch.arange(6.0)
    assert masked_mean(x, x > 3).item() == 4.5


def test_masked_mean_of_nothing_is_zero_and_still_part_of_the_graph():
    x = torch.full((3,), torch.inf, requires_grad=True)
    mean = masked_mean(x, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0
    assert torch.equal(x.grad, torch.zeros(3))


def test_silog_is_the_formula():
    depth, truth = depths().double(), depths().double()
    error = (depth.log() - truth.log()).flatten()
    expected = math.sqrt((error**2).mean() - 0.85 * error.mean() ** 2)
    assert silog(depth, truth, truth > 0).item() == pytest.approx(expected, abs=2e-3)


@given(factor=st.floats(0.1, 10))
def test_silog_of_a_scale_error_is_its_logarithm_weighted(factor):
    truth = torch.linspace(2, 50, 30, dtype=torch.float64)
    expected = math.sqrt(0.15) * abs(math.log(factor))
    assert silog(factor * truth, truth, truth > 0).item() == pytest.approx(expected, abs=1e-3)


def test_silog_of_a_perfect_depth_is_zero_with_a_finite_gradient():
    depth = depths().requires_grad_()
    loss = silog(depth, depth.detach(), depth > 0)
    loss.backward()
    assert loss.item() == 0
    assert depth.grad.isfinite().all()


def test_silog_works_in_float32_on_half_precision_depth():
    depth = torch.full((4,), 60000.0, dtype=torch.float16)
    assert silog(depth, torch.full((4,), 60000.0), depth > 0).dtype == torch.float32


@pytest.mark.parametrize("points", [0, 1])
def test_silog_of_hardly_any_lidar_is_finite(points):
    depth, truth = depths().requires_grad_(), torch.zeros(B, V, H, W)
    truth[0, 0, 0, :points] = 7.0
    loss = silog(depth, truth, truth > 0)
    loss.backward()
    assert loss.isfinite()
    assert depth.grad.isfinite().all()
    assert (depth.grad != 0).sum() == points


def test_divergence_is_zero_where_student_and_teacher_agree_and_positive_elsewhere():
    teacher, other = probabilities(16), probabilities(16)
    everywhere = torch.ones(B, V, H // 4, W // 4, dtype=torch.bool)
    assert bin_divergence(teacher.log(), teacher, everywhere).item() == pytest.approx(0, abs=1e-6)
    expected = (other * (other / teacher).log()).sum(dim=2).mean()
    torch.testing.assert_close(bin_divergence(teacher.log(), other, everywhere), expected)


def test_divergence_from_a_certain_teacher_is_finite():
    teacher = torch.zeros(B, V, 4, H // 4, W // 4)
    teacher[:, :, 2] = 1
    everywhere = torch.ones(B, V, H // 4, W // 4, dtype=torch.bool)
    uniform = torch.full_like(teacher, 0.25).log()
    assert bin_divergence(uniform, teacher, everywhere).item() == pytest.approx(math.log(4))


def test_cross_depth_teaches_the_centres_metres():
    teacher = probabilities(16)
    centres = torch.linspace(80, 2, 16).expand(B, V, 16).clone().requires_grad_()
    truth = metric_depth(teacher, centres.detach(), (H, W))
    assert cross_depth(teacher, centres, truth, truth > 0).item() == pytest.approx(0, abs=1e-5)
    cross_depth(teacher, centres, 2 * truth, truth > 0).backward()
    assert (centres.grad < 0).all(), "descent makes every centre deeper"


def test_relation_distance_is_zero_for_the_teachers_own_features():
    from stages.view_relation import pool_tokens, view_relation

    features = torch.randn(B, V, 5, 4, 6)
    relation = view_relation(pool_tokens(features, (2, 3)), PAIRS)
    assert relation_distance(features, relation, PAIRS, (2, 3)).item() == 0
    assert relation_distance(torch.randn(B, V, 5, 4, 6), relation, PAIRS, (2, 3)).item() > 0


def test_relation_distance_without_neighbours_is_zero():
    assert relation_distance(torch.randn(B, V, 5, 4, 6), torch.zeros(B, 0, 6, 6), (), (2, 3)).item() == 0


@pytest.mark.parametrize("bins", [2, 16])
@pytest.mark.parametrize("points", [0, 1, B * V * H * W])
@pytest.mark.parametrize("masked", [True, False])
def test_the_whole_loss_and_its_gradient_are_finite(bins, points, masked):
    output = student_output(bins)
    truth = torch.zeros(B * V * H * W).index_fill(0, torch.arange(points), 9.0).reshape(B, V, H, W)
    mask = torch.full((B, V, H // 4, W // 4), not masked)
    total, terms = total_loss(output, truth, truth > 0, teacher_targets(bins, mask), LossConfig())
    total.backward()
    assert total.isfinite()
    assert set(terms) == {"lidar", "kl", "cross", "view_relation"}
    assert output.features.grad.isfinite().all()


def test_the_total_is_the_weighted_sum_of_its_terms():
    weights = LossConfig(ckd=2, kl=0.3, cross=0.7, view_relation=5)
    truth = depths()
    everywhere = torch.ones(B, V, H // 4, W // 4, dtype=torch.bool)
    total, t = total_loss(student_output(16), truth, truth > 0, teacher_targets(16, everywhere), weights)
    torch.testing.assert_close(total, t["lidar"] + 2 * (0.3 * t["kl"] + 0.7 * t["cross"]) + 5 * t["view_relation"])


def test_the_baseline_is_lidar_alone():
    truth = depths()
    output = student_output(16)
    total, terms = total_loss(output, truth, truth > 0, None, LossConfig(ckd=0, view_relation=0))
    assert list(terms) == ["lidar"]
    torch.testing.assert_close(total, silog(output.depth_m, truth, truth > 0))


def test_gradients():
    def check(loss, *inputs):
        assert torch.autograd.gradcheck(loss, [x.double().requires_grad_() for x in inputs])

    truth = depths().double()
    some = torch.rand(B, V, H, W) > 0.5
    cells = torch.rand(B, V, H // 4, W // 4) > 0.3
    teacher = probabilities(4).double()
    relation = torch.rand(B, 2, 4, 4).double()
    check(lambda x: masked_mean(x, some), depths())
    check(lambda x: silog(x, truth, some), depths())
    check(lambda x: bin_divergence(x.log_softmax(dim=2), teacher, cells), torch.randn(B, V, 4, H // 4, W // 4))
    check(lambda x: cross_depth(teacher, x, truth, some), torch.rand(B, V, 4) * 20 + 5)
    check(lambda x: relation_distance(x, relation, PAIRS, (2, 2)), torch.randn(B, V, 3, 4, 4))
