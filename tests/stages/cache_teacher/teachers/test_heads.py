"""What is read from a network's output agrees with the library's own reading."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForDepthEstimation, ZoeDepthConfig, ZoeDepthForDepthEstimation

from cache_schema import TeacherKind
from stages.cache_teacher.teachers.heads import MIN_DEPTH_M, depth_pro_disparity, disparity, head_for, inverse_depth


def zoedepth(folder: str | None = None, **changes):
    config = ZoeDepthConfig.from_pretrained(folder, **changes)
    torch.manual_seed(0)
    return ZoeDepthForDepthEstimation(config).eval()


@pytest.mark.parametrize("bin_centers_type", ["softplus", "normed"])
def test_the_bins_of_zoedepth_sum_to_its_depth(bin_centers_type, teacher_folder):
    network = zoedepth(teacher_folder("zoedepth"), bin_centers_type=bin_centers_type)
    head = head_for(network, TeacherKind.BINS)

    with torch.inference_mode():
        output = network(torch.randn(2, 3, 64, 96))
        probability, centre_disparity = head(output)

    assert probability.shape == centre_disparity.shape == (2, 16, *output.predicted_depth.shape[1:])
    torch.testing.assert_close(probability.sum(dim=1), torch.ones_like(output.predicted_depth))
    torch.testing.assert_close((probability / centre_disparity).sum(dim=1), output.predicted_depth)


def test_a_zoedepth_with_two_heads_hands_over_the_one_that_spoke(teacher_folder):
    indoor = {"name": "nyu", "n_bins": 16, "min_depth": 0.001, "max_depth": 10.0}
    network = zoedepth(
        teacher_folder("zoedepth"),
        bin_configurations=[indoor, {**indoor, "name": "kitti", "max_depth": 80.0}],
        num_patch_transformer_layers=4,
        patch_transformer_hidden_size=128,
        patch_transformer_intermediate_size=64,
        patch_transformer_num_attention_heads=2,
    )
    head = head_for(network, TeacherKind.BINS)

    with torch.inference_mode():
        for favourite in (0, 1):
            network.metric_head.mlp_classifier.linear2.bias.copy_(10.0 * torch.eye(2)[favourite])
            output = network(torch.randn(2, 3, 64, 96))
            probability, centre_disparity = head(output)
            torch.testing.assert_close((probability / centre_disparity).sum(dim=1), output.predicted_depth)


def test_depth_of_zero_has_a_finite_disparity():
    output = SimpleNamespace(predicted_depth=torch.tensor([[[0.0, 2.0]]]))

    assert inverse_depth(output)[0].flatten().tolist() == pytest.approx([1 / MIN_DEPTH_M, 0.5])
    assert disparity(output)[0].flatten().tolist() == [0.0, 2.0]


def test_depth_pro_follows_its_field_of_view():
    """Depth = f_px / (W · C), with the focal length f_px of an image W pixels wide."""
    canonical, fov_deg, width_px = 0.2, 60.0, 1000
    focal_px = 0.5 * width_px / math.tan(math.radians(fov_deg) / 2)
    output = SimpleNamespace(predicted_depth=torch.full((1, 2, 2), canonical), field_of_view=torch.tensor([fov_deg]))

    (found,) = depth_pro_disparity(output)

    torch.testing.assert_close(1 / found, torch.full((1, 1, 2, 2), focal_px / (width_px * canonical)))


def test_depth_pro_without_field_of_view_keeps_its_disparity(teacher_folder):
    network = AutoModelForDepthEstimation.from_pretrained(teacher_folder("depth_pro"))
    output = SimpleNamespace(predicted_depth=torch.rand(1, 2, 2), field_of_view=None)

    (found,) = head_for(network, TeacherKind.DISPARITY_AFFINE_INVARIANT)(output)

    assert torch.equal(found[:, 0], output.predicted_depth)
