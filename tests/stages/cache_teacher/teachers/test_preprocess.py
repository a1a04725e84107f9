"""Frames reach the network as the model's own image processor would bring them there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from transformers import (
    AutoConfig,
    DepthAnythingConfig,
    DPTConfig,
    DPTImageProcessorPil,
    GLPNImageProcessorPil,
    PromptDepthAnythingConfig,
    ZoeDepthConfig,
    ZoeDepthImageProcessorPil,
)

from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers import load_teacher
from stages.cache_teacher.teachers.checkpoint import find_checkpoint
from stages.cache_teacher.teachers.network_input import Window, show
from stages.cache_teacher.teachers.preprocess import load_preprocessor
from tests.stages.cache_teacher.teachers.conftest import frame

LIBRARY = {
    "depth_anything": DPTImageProcessorPil,
    "dpt": DPTImageProcessorPil,
    "glpn": GLPNImageProcessorPil,
    "zoedepth": ZoeDepthImageProcessorPil,
}
DINOV2_HEAD = {  # as published with facebook/dpt-dinov2-small-kitti
    "image_processor_type": "DPTImageProcessor",
    "do_resize": False,
    "do_rescale": False,
    "do_pad": True,
    "size_divisor": 14,
    "image_mean": [123.675, 116.28, 103.53],
    "image_std": [58.395, 57.12, 57.375],
}


def preprocessor_of(folder: str):
    return load_preprocessor(AutoConfig.from_pretrained(folder), find_checkpoint(folder).processor)


@pytest.mark.parametrize("size_hw", [(96, 160), (121, 193)])
@pytest.mark.parametrize("architecture", LIBRARY)
def test_input_is_what_the_library_makes(architecture, size_hw, teacher_folder):
    folder = teacher_folder(architecture)
    images = [frame(seed, *size_hw) for seed in range(2)]
    expected = LIBRARY[architecture].from_pretrained(folder)(images=images, return_tensors="pt")["pixel_values"]

    found = preprocessor_of(folder)(images, 1.0).pixel_values

    assert torch.equal(found, expected)


def test_depth_pro_normalises_then_samples_between_pixels(teacher_folder):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)

    (found,) = preprocessor_of(teacher_folder("depth_pro"))([image], 1.0).pixel_values

    normal = (image.astype(np.float64) / 255 - 0.5) / 0.5
    halved = normal.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(found.numpy(), halved, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "scale", "expected_hw"),
    [
        ("depth_anything", 0.8, (56, 98)),  # 56 x 93.3, to multiples of 14
        ("depth_anything", 1.4, (98, 168)),  # 98 x 163.3
        ("dpt", 0.8, (48, 48)),  # 51.2, to a multiple of the patch of 16
        ("zoedepth", 2.0, (128, 192)),
        ("glpn", 0.5, (32, 64)),  # 48 x 80, down to multiples of 32
    ],
)
def test_a_scale_multiplies_the_target_size_and_keeps_its_rule(architecture, scale, expected_hw, teacher_folder):
    found = preprocessor_of(teacher_folder(architecture))([frame(0)], scale)

    assert found.pixel_values.shape == (1, 3, *expected_hw)


def test_depth_pro_has_one_resolution(teacher_folder):
    with pytest.raises(TeacherError, match="one resolution"):
        preprocessor_of(teacher_folder("depth_pro"))([frame(0)], 1.5)


def test_padding_of_zoedepth_is_cut_off_again(teacher_folder):
    """The library resizes to the padded frame and crops; the cut must show the same part of the map."""
    image, pad = frame(0, 98, 162), (21, 27)  # int(√(98/2)·3), int(√(162/2)·3)
    network_input = preprocessor_of(teacher_folder("zoedepth"))([image], 1.0)
    smooth = interpolate(torch.rand(1, 1, 4, 5), network_input.pixel_values.shape[-2:], mode="bicubic")

    found = interpolate(show(smooth, network_input.window), (98, 162), mode="bilinear")

    padded = interpolate(smooth, (98 + 2 * pad[0], 162 + 2 * pad[1]), mode="bilinear")
    expected = padded[..., pad[0] : -pad[0], pad[1] : -pad[1]]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03 * float(smooth.max() - smooth.min()))


def test_padding_of_the_dinov2_head_is_cut_off_again():
    preprocess = load_preprocessor(DPTConfig(patch_size=14), DINOV2_HEAD)

    network_input = preprocess([frame(0, 95, 160)], 1.0)

    assert network_input.pixel_values.shape[-2:] == (98, 168)
    assert network_input.window == Window.inside((95, 160), 1, 4, (98, 168))
    assert (network_input.pixel_values[..., :1, :] == 0).all()
    scaled = preprocess([frame(0, 95, 160)], 0.5)
    assert scaled.pixel_values.shape[-2:] == (56, 84)
    assert scaled.window == Window.inside((48, 80), 4, 2, (56, 84))


def test_the_cut_shows_exactly_the_image():
    """A map of its own coordinates, cut, holds the coordinates of the image's pixel centres."""
    window = Window.inside((96, 160), 20, 26, (136, 212))
    rows = (torch.arange(34) + 0.5) / 34 * 136 - 20  # in raw pixels from the image's upper edge
    columns = (torch.arange(53) + 0.5) / 53 * 212 - 26
    coordinates = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))

    (cut,) = show(coordinates[None], window)

    assert cut.shape == (2, 24, 40)
    torch.testing.assert_close(cut[0, :, 0], (torch.arange(24) + 0.5) / 24 * 96)
    torch.testing.assert_close(cut[1, 0], (torch.arange(40) + 0.5) / 40 * 160)


def test_the_cut_keeps_probabilities():
    probability = torch.rand(2, 16, 20, 30).softmax(dim=1)

    cut = show(probability, Window(0.0, 0.1, 0.95, 0.8))

    assert cut.shape == (2, 16, 19, 24)
    torch.testing.assert_close(cut.sum(dim=1), torch.ones(2, 19, 24))


def test_without_published_settings_the_defaults_are_used_and_named(tiny_folder):
    (tiny_folder / "preprocessor_config.json").unlink()

    identity = load_teacher(str(tiny_folder)).identity

    assert identity.processor["source"] == "class defaults"
    assert identity.processor["size"] == {"height": 518, "width": 518}
    assert identity.processor["ensure_multiple_of"] == 14


def test_defaults_suit_the_patches():
    images = [frame(0)]

    assert load_preprocessor(DepthAnythingConfig(), None)(images, 1.0).pixel_values.shape[-2:] == (308, 518)
    assert load_preprocessor(DPTConfig(), None)(images, 1.0).pixel_values.shape[-2:] == (384, 384)
    assert load_preprocessor(ZoeDepthConfig(), None)(images, 1.0).pixel_values.shape[-2:] == (320, 512)


def test_old_names_of_processors_are_understood():
    old = {"feature_extractor_type": "DPTFeatureExtractor", "size": 384}
    fast = {"image_processor_type": "DPTImageProcessorFast"}

    for settings in (old, fast):
        assert load_preprocessor(DPTConfig(), settings).settings["size"] == {"height": 384, "width": 384}


def test_settings_are_plain_json(teacher_folder):
    settings = preprocessor_of(teacher_folder("zoedepth")).settings

    assert json.loads(json.dumps(settings)) == settings


def test_a_processor_that_needs_torchvision_is_refused():
    with pytest.raises(TeacherError, match=r"PromptDepthAnythingImageProcessor is not supported.*DPTImageProcessor"):
        load_preprocessor(PromptDepthAnythingConfig(), {"image_processor_type": "PromptDepthAnythingImageProcessor"})


def test_depth_pro_settings_that_are_not_implemented_are_refused(teacher_folder):
    config = AutoConfig.from_pretrained(teacher_folder("depth_pro"))

    with pytest.raises(TeacherError, match="resample=3"):
        load_preprocessor(config, {"resample": 3})


@pytest.mark.parametrize("config", [DepthAnythingConfig(), DPTConfig(), ZoeDepthConfig()])
@pytest.mark.parametrize("size", [{"shortest_edge": 384}, {"longest_edge": 384}, {"height": 384}, [384, 384], "384", 0])
def test_a_size_that_the_processor_does_not_know(config, size):
    with pytest.raises(TeacherError, match=r'has the size .*; expected \{"height": …, "width": …\}'):
        load_preprocessor(config, {"size": size})


def test_a_size_that_nothing_reads_is_taken():
    load_preprocessor(DPTConfig(), {**DINOV2_HEAD, "size": {"shortest_edge": 384}})


@pytest.mark.parametrize("settings", [{"image_mean": "grey"}, {"image_std": [1.0]}, {"resample": 99}])
def test_settings_that_the_processor_fails_at(settings):
    with pytest.raises(TeacherError, match=r"the settings of DPTImageProcessor in preprocessor_config\.json cannot be"):
        load_preprocessor(DPTConfig(), settings)
