"""Features are the backbone's, laid out as the image is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModelForDepthEstimation

from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers.features import FeatureTap, channels_of

LAST_LAYER = {
    "depth_anything": lambda network, x: network.backbone(x).feature_maps[-1][:, 1:],
    "zoedepth": lambda network, x: network.backbone(x).feature_maps[-1][:, 1:],
    "dpt": lambda network, x: network.dpt(x, output_hidden_states=True).hidden_states[-1][:, 1:],
    "glpn": lambda network, x: network.glpn(x).last_hidden_state,
    "depth_pro": lambda network, x: network.depth_pro.encoder.image_encoder(x).features,
}
INPUT_HW = {
    "depth_anything": (70, 112),
    "zoedepth": (64, 96),
    "dpt": (64, 64),
    "glpn": (64, 96),
    "depth_pro": (128, 128),
}
GRID_HW = {"depth_anything": (5, 8), "zoedepth": (4, 6), "dpt": (4, 4), "glpn": (2, 3), "depth_pro": (4, 4)}


@pytest.mark.parametrize("architecture", LAST_LAYER)
def test_features_are_the_last_layer_of_the_backbone(architecture, teacher_folder):
    network = AutoModelForDepthEstimation.from_pretrained(teacher_folder(architecture)).eval()
    tap = FeatureTap(network)
    images = torch.randn(2, 3, *INPUT_HW[architecture])

    with torch.inference_mode():
        network(images)
        features = tap.take(INPUT_HW[architecture])
        expected = LAST_LAYER[architecture](network, images)

    assert features.shape == (2, 32, *GRID_HW[architecture])
    assert channels_of(network.config) == 32
    as_tokens = features.flatten(2).transpose(1, 2)
    torch.testing.assert_close(as_tokens, expected if expected.ndim == 3 else expected.flatten(2).transpose(1, 2))


def test_a_network_without_a_known_backbone_is_refused():
    network = nn.Module()
    network.config = SimpleNamespace(model_type="newest")

    with pytest.raises(TeacherError, match=r"'newest'.*backbone"):
        FeatureTap(network)
