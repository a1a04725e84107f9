import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.train.config import LossConfig
from stages.train.losses import (
    Projector,
    angle_difference,
    bin_divergence,
    cross_depth,
    disparity_difference,
    distance_difference,
    masked_mean,
    relation_distance,
    silog,
    total_loss,
)
from stages.train.losses.pseudo_label import aligned
from stages.train.losses.rkd import teacher_tokens
from stages.train.student.bins import metric_depth
from stages.view_relation import pool_tokens, view_relation
from tests.stages.train.losses.samples import (
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

FADES = ("none", "linear", "cosine")


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


def test_a_temperature_compares_flattened_probabilities_and_keeps_the_size_of_the_gradient():
    teacher, logits = probabilities(4), torch.randn(B, V, 4, H // 4, W // 4)
    everywhere = torch.ones(B, V, H // 4, W // 4, dtype=torch.bool)
    flat = (teacher.log() / 3).softmax(dim=2)
    expected = 9 * bin_divergence((logits / 3).log_softmax(dim=2), flat, everywhere)
    found = bin_divergence(logits.log_softmax(dim=2), teacher, everywhere, temperature=3)
    torch.testing.assert_close(found, expected)


def test_a_weight_makes_the_divergence_a_weighted_mean():
    teacher, student = probabilities(4), probabilities(4).log()
    some = torch.rand(B, V, H // 4, W // 4) > 0.4
    one = torch.zeros(B, V, H // 4, W // 4)
    one[0, 1, 1, 2] = 0.3
    some[0, 1, 1, 2] = True
    torch.testing.assert_close(
        bin_divergence(student, teacher, some, one), bin_divergence(student, teacher, one > 0), msg="one pixel counts"
    )
    even = torch.full_like(one, 0.2)
    torch.testing.assert_close(bin_divergence(student, teacher, some, even), bin_divergence(student, teacher, some))
    assert bin_divergence(student, teacher, some, torch.zeros_like(one)).item() == 0


def test_divergence_from_a_certain_teacher_is_finite():
    teacher = torch.zeros(B, V, 4, H // 4, W // 4)
    teacher[:, :, 2] = 1
    everywhere = torch.ones(B, V, H // 4, W // 4, dtype=torch.bool)
    uniform = torch.full_like(teacher, 0.25).log()
    assert bin_divergence(uniform, teacher, everywhere).item() == pytest.approx(math.log(4))


def test_cross_depth_teaches_the_centres_metres():
    teacher = probabilities(16)
    centres = torch.linspace(80, 2, 16).expand(B, V, 16).clone().requires_grad_()
    truth = metric_depth(teacher, centres.detach(), "depth", (H, W))
    assert cross_depth(teacher, centres, "depth", truth, truth > 0).item() == pytest.approx(0, abs=1e-5)
    cross_depth(teacher, centres, "depth", 2 * truth, truth > 0).backward()
    assert (centres.grad < 0).all(), "descent makes every centre deeper"


def test_relation_distance_is_zero_for_the_teachers_own_features():
    features = torch.randn(B, V, 5, 4, 6)
    for of in ("tokens", "deviations"):
        relation = view_relation(pool_tokens(features, (2, 3)), PAIRS, of)
        assert relation_distance(features, relation, PAIRS, (2, 3), of=of).item() == 0
        assert relation_distance(torch.randn(B, V, 5, 4, 6), relation, PAIRS, (2, 3), of=of).item() > 0


KINDS = ("cosine", "centred", "softmax")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("facing", [False, True])
def test_every_kind_of_relation_is_zero_for_the_same_and_positive_for_another(kind, facing):
    relation = torch.rand(B, len(PAIRS), 6, 6)
    features = torch.randn(B, V, 5, 4, 6)
    own = view_relation(pool_tokens(features, (2, 3)), PAIRS)
    assert relation_distance(features, own, PAIRS, (2, 3), kind, facing=facing).item() == pytest.approx(0, abs=1e-6)
    assert relation_distance(features, relation, PAIRS, (2, 3), kind, facing=facing).item() > 1e-3


def test_centred_relations_do_not_care_how_alike_all_tokens_are():
    features = torch.randn(B, V, 5, 4, 6)
    own = view_relation(pool_tokens(features, (2, 3)), PAIRS)
    moved = own + 0.3 + torch.rand(B, len(PAIRS), 6, 1) + torch.rand(B, len(PAIRS), 1, 6)
    assert relation_distance(features, moved, PAIRS, (2, 3), "centred").item() == pytest.approx(0, abs=1e-6)
    assert relation_distance(features, moved, PAIRS, (2, 3), "cosine").item() > 0.1


def test_only_the_halves_that_face_each_other_count():
    features = torch.randn(B, V, 5, 4, 6)
    relation = view_relation(pool_tokens(features, (1, 4)), PAIRS)
    elsewhere = relation.clone()
    elsewhere[:, :, 2:, :] += 1  # the right half of view i looks away from view j, which is on its left
    elsewhere[:, :, :, :2] += 1
    assert relation_distance(features, elsewhere, PAIRS, (1, 4), facing=True).item() == pytest.approx(0, abs=1e-6)
    elsewhere[:, :, 1, 3] += 1
    assert relation_distance(features, elsewhere, PAIRS, (1, 4), facing=True).item() == pytest.approx(1 / 4, rel=1e-3)


@pytest.mark.parametrize("kind", ["cosine", "centred", "softmax"])
def test_relations_of_views_not_seen_whole_stay_out_of_the_mean(kind):
    features, teacher = torch.randn(2, V, 5, 4, 6), torch.rand(2, 2, 6, 6)
    whole = torch.tensor([[True], [False]]).expand(2, V)
    found = relation_distance(features, teacher, PAIRS, (2, 3), kind, whole=whole)
    torch.testing.assert_close(found, relation_distance(features[:1], teacher[:1], PAIRS, (2, 3), kind))
    assert relation_distance(features, teacher, PAIRS, (2, 3), kind, whole=whole & False) == 0


def test_relation_distance_without_neighbours_is_zero():
    assert relation_distance(torch.randn(B, V, 5, 4, 6), torch.zeros(B, 0, 6, 6), (), (2, 3)).item() == 0


def some_pixels(share: float = 0.7) -> torch.Tensor:
    return torch.rand(B, V, 6, 8) < share


@given(scale=st.floats(0.1, 10), shift=st.floats(-1, 1))
def test_scale_and_shift_of_either_disparity_do_not_matter(scale, shift):
    student, teacher, mask = torch.rand(B, V, 6, 8).double(), torch.rand(B, V, 6, 8).double(), some_pixels()
    loss = disparity_difference(student, teacher, mask)
    torch.testing.assert_close(disparity_difference(scale * student + shift, teacher, mask), loss)
    torch.testing.assert_close(disparity_difference(student, scale * teacher + shift, mask), loss)
    assert disparity_difference(scale * teacher + shift, teacher, mask).item() == pytest.approx(0, abs=1e-9)


def test_near_and_far_swapped_costs_more_than_another_shape():
    teacher, mask = torch.rand(B, V, 6, 8), some_pixels()
    swapped = disparity_difference(-teacher, teacher, mask)
    assert swapped > disparity_difference(torch.rand(B, V, 6, 8), teacher, mask)


def test_alignment_is_the_median_and_the_mean_absolute_deviation():
    disparity, mask = torch.rand(1, 1, 6, 8), torch.rand(1, 1, 6, 8) < 0.5
    inside = disparity[mask]
    expected = (inside - inside.median()) / (inside - inside.median()).abs().mean()
    torch.testing.assert_close(aligned(disparity, mask)[mask], expected)


def test_the_fifth_that_agrees_least_teaches_nothing():
    teacher, everywhere = torch.linspace(0, 1, 50).reshape(1, 1, 5, 10), torch.ones(1, 1, 5, 10, dtype=torch.bool)
    student = (teacher + 0.01 * torch.rand(1, 1, 5, 10)).requires_grad_()
    difference = (aligned(student, everywhere) - aligned(teacher, everywhere)).abs().flatten().detach()
    expected = 0.5 * difference.sort().values[:40].mean()
    torch.testing.assert_close(disparity_difference(student, teacher, everywhere), expected)


def test_an_untrained_student_and_an_empty_mask_give_finite_gradients():
    for mask in (some_pixels(), torch.zeros(B, V, 6, 8, dtype=torch.bool)):
        student = torch.full((B, V, 6, 8), 0.07, requires_grad=True)
        loss = disparity_difference(student, torch.rand(B, V, 6, 8), mask)
        loss.backward()
        assert student.grad.isfinite().all()
        assert (loss > 0) == mask.any()


N = 7


def all_valid() -> torch.Tensor:
    return torch.ones(B, N, dtype=torch.bool)


def test_equal_relations_cost_nothing_whatever_the_scale_the_place_and_the_pose():
    teacher = torch.randn(B, N, 5).double()
    turn = torch.linalg.qr(torch.randn(5, 5).double()).Q
    for student in (teacher, 30 * teacher + 4, teacher @ turn):
        assert distance_difference(student, teacher, all_valid()).item() == pytest.approx(0, abs=1e-12)
        assert angle_difference(student, teacher, all_valid()).item() == pytest.approx(0, abs=1e-12)


def test_other_relations_cost_something_in_spaces_of_any_size():
    student, teacher = torch.randn(B, N, 9), torch.randn(B, N, 5)
    assert distance_difference(student, teacher, all_valid()) > 0
    assert angle_difference(student, teacher, all_valid()) > 0


@pytest.mark.parametrize("loss", [distance_difference, angle_difference])
def test_relations_count_between_valid_tokens_only(loss):
    student, teacher = torch.randn(B, N, 5), torch.randn(B, N, 5)
    first = torch.arange(N).expand(B, N) < 4
    torch.testing.assert_close(loss(student, teacher, first), loss(student[:, :4], teacher[:, :4], all_valid()[:, :4]))
    for too_few in (0, 1):
        few = torch.arange(N).expand(B, N) < too_few
        assert loss(student, teacher, few) == 0


def test_relations_of_equal_tokens_give_finite_gradients():
    student = torch.ones(B, N, 5, requires_grad=True)
    teacher = torch.randn(B, N, 5)
    (distance_difference(student, teacher, all_valid()) + angle_difference(student, teacher, all_valid())).backward()
    assert student.grad.isfinite().all()


def test_angles_are_park_and_others():
    """Against the authors' own few lines (github.com/lenscloth/RKD, metric/loss.py), with i, j, k all different."""
    student, teacher = torch.randn(1, 4, 3), torch.randn(1, 4, 6)

    def theirs(e: torch.Tensor) -> torch.Tensor:
        unit = torch.nn.functional.normalize(e.unsqueeze(0) - e.unsqueeze(1), p=2, dim=2)
        return torch.bmm(unit, unit.transpose(1, 2))

    different = torch.tensor([[[len({i, j, k}) == 3 for k in range(4)] for i in range(4)] for j in range(4)])
    expected = torch.nn.functional.smooth_l1_loss(theirs(student[0])[different], theirs(teacher[0])[different])
    valid = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(angle_difference(student, teacher, valid), expected)


def test_a_teachers_token_is_the_mean_where_the_mask_holds():
    probability, mask = torch.rand(1, 1, 3, 4, 8), torch.ones(1, 1, 4, 8, dtype=torch.bool)
    mask[..., 0, 0] = False
    mask[..., 2:, 6:] = False
    tokens, valid = teacher_tokens(probability, mask)
    expected = probability[0, 0, :, :2, :2].flatten(1)[:, 1:].mean(dim=1)
    torch.testing.assert_close(tokens[0, 0], expected)
    assert valid.tolist() == [[True] * 7 + [False]]


def test_the_total_is_the_weighted_sum_of_its_terms():
    weights = LossConfig(
        ckd=2, kl=0.3, cross=0.7, view_relation=5, pseudo_label=0.4, rkd=0.6, features=0.9, metric_kd=0.8
    )
    truth = depths()
    everywhere = torch.ones(B, V, H // 4, W // 4, dtype=torch.bool)
    projector, teacher = Projector(STUDENT_CHANNELS, TEACHER_CHANNELS), teacher_targets(16, everywhere)
    total, t = total_loss(student_output(16), truth, truth > 0, teacher, weights, projector=projector)
    rivals = 0.4 * t["pseudo_label"] + 0.6 * (t["rkd_distance"] + 2 * t["rkd_angle"])
    rivals = rivals + 0.9 * t["features"] + 0.8 * t["metric_kd"]
    method = 2 * (0.3 * t["kl"] + 0.7 * t["cross"]) + 5 * t["view_relation"]
    torch.testing.assert_close(total, t["lidar"] + method + rivals)


@pytest.mark.parametrize(
    ("where", "taught", "left"), [("context", "context", "features"), ("encoder", "features", "context")]
)
def test_the_relation_teaches_those_tokens_that_the_settings_name(where, taught, left):
    output, truth = student_output(4), depths()
    teacher = teacher_targets(4, torch.ones(B, V, H // 4, W // 4, dtype=torch.bool))
    weights = LossConfig(ckd=0, view_relation=1, relation_in=where)
    total_loss(output, truth, truth > 0, teacher, weights)[0].backward()
    assert getattr(output, taught).grad.abs().max() > 0
    assert getattr(output, left).grad is None


def test_the_teachers_terms_fade_and_lidar_stays():
    output, truth = student_output(4), depths()
    teacher = teacher_targets(4, torch.ones(B, V, H // 4, W // 4, dtype=torch.bool))
    weights = LossConfig(pseudo_label=0.3, rkd=0.2)
    whole, terms = total_loss(output, truth, truth > 0, teacher, weights)
    half, same = total_loss(output, truth, truth > 0, teacher, weights, 0.5)
    assert all(torch.equal(terms[name], same[name]) for name in terms)
    torch.testing.assert_close(half - terms["lidar"], 0.5 * (whole - terms["lidar"]))
    shares = {kind: [LossConfig(anneal=kind).teacher_share(p) for p in (0.0, 0.25, 0.5, 1.0)] for kind in FADES}
    assert shares["none"] == [1, 1, 1, 1]
    assert shares["linear"] == [1, 0.75, 0.5, 0]
    assert shares["cosine"] == pytest.approx([1, 0.854, 0.5, 0], abs=1e-3)


def test_terms_that_compare_bins_are_refused_for_a_student_without():
    truth, everywhere = depths(), torch.ones(B, V, H // 4, W // 4, dtype=torch.bool)
    output = dataclasses.replace(student_output(16), bins=None)
    for weights in (LossConfig(), LossConfig(ckd=0, metric_kd=1)):
        with pytest.raises(ValueError, match="head is regression"):
            total_loss(output, truth, truth > 0, teacher_targets(16, everywhere), weights)


def test_the_baseline_is_lidar_alone():
    truth = depths()
    output = student_output(16)
    total, terms = total_loss(output, truth, truth > 0, None, LossConfig(ckd=0, view_relation=0))
    assert list(terms) == ["lidar"]
    torch.testing.assert_close(total, silog(output.depth_m, truth, truth > 0))
