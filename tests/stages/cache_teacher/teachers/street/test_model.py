"""The network of the street teacher."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForDepthEstimation

from stages.cache_teacher.teachers.street import StreetDepthConfig, StreetDepthForDepthEstimation
from tests.stages.cache_teacher.teachers.street.conftest import tiny_network


@pytest.mark.parametrize("size_hw", [(32, 32), (96, 160), (64, 224), (192, 320)])
def test_any_multiple_of_32_is_seen_at_its_own_size(size_hw):
    with torch.inference_mode():
        disparity = tiny_network()(torch.randn(2, 3, *size_hw)).predicted_depth

    assert disparity.shape == (2, *size_hw)
    assert (disparity > 0).all()
    assert disparity.std() > 0


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="90x160 pixels: expected multiples of 32"):
        tiny_network()(torch.randn(1, 3, 90, 160))


def test_the_published_network_is_small():
    parameters = sum(p.numel() for p in StreetDepthForDepthEstimation(StreetDepthConfig()).parameters())

    assert parameters <= 7_000_000


def test_transformers_knows_the_network(tmp_path):
    network = tiny_network()
    network.save_pretrained(tmp_path)

    config, again = AutoConfig.from_pretrained(tmp_path), AutoModelForDepthEstimation.from_pretrained(tmp_path)

    assert type(config) is StreetDepthConfig
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(image).predicted_depth, network(image).predicted_depth)


def test_labels_give_a_loss_to_learn_from():
    network = tiny_network().train()
    depth_m = torch.rand(2, 64, 96) * 50 + 1
    depth_m[:, :10], depth_m[:, -4:] = torch.inf, torch.nan

    network(torch.randn(2, 3, 64, 96), labels=depth_m).loss.backward()

    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)
