"""Random teachers of the real classes, written to folders as `save_pretrained` writes published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessorPil,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
    ZoeDepthImageProcessorPil,
)
from transformers.utils import logging

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
TINY_VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
FOUR_LAYERS = {"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False}
TINY_NECK = {"neck_hidden_sizes": [8, 16, 24, 32], "fusion_hidden_size": 16}

DINOV2 = {
    "small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "out_indices": [3, 6, 9, 12]},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "out_indices": [3, 6, 9, 12]},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "out_indices": [5, 12, 18, 24]},
}
DEPTH_ANYTHING_V2 = {
    "small": {"neck_hidden_sizes": [48, 96, 192, 384], "fusion_hidden_size": 64},
    "base": {"neck_hidden_sizes": [96, 192, 384, 768], "fusion_hidden_size": 128},
    "large": {"neck_hidden_sizes": [256, 512, 1024, 1024], "fusion_hidden_size": 256},
}

Size = Literal["small", "base", "large"]


def write_tiny_teacher(folder: Path | str, architecture: str = "depth_anything", seed: int = 0) -> Path:
    """Write a teacher of about 100,000 random weights that sees a frame in a few milliseconds."""
    build = TINY[architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = build()
        _enliven(model)
    return _write(folder, model, processor)


def write_random_teacher(folder: Path | str, size: Size = "small", seed: int = 0) -> Path:
    """Write Depth Anything V2 at its real size and input resolution, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = {"model_type": "dinov2", "image_size": 518, "patch_size": 14, "reshape_hidden_states": False}
        config = DepthAnythingConfig(
            backbone_config={**backbone, **DINOV2[size]},
            reassemble_hidden_size=DINOV2[size]["hidden_size"],
            **DEPTH_ANYTHING_V2[size],
        )
        model = DepthAnythingForDepthEstimation(config)
        _enliven(model)
    return _write(folder, model, _depth_anything_processor(518))


def _write(folder: Path | str, model: Any, processor: Any) -> Path:
    folder = Path(folder)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        logging.enable_progress_bar()
    settings = processor if isinstance(processor, dict) else processor.to_dict()
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return folder


def _enliven(model: Any) -> None:
    """Draw weights that let the image through: as transformers initialises it, the prediction is a constant."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            fan_in = module.weight.shape[0] if isinstance(module, nn.ConvTranspose2d) else module.weight[0].numel()
            nn.init.normal_(module.weight, std=fan_in**-0.5)
    if hasattr(model, "head"):
        last = [module for module in model.head.modules() if isinstance(module, nn.Conv2d)][-1]
        nn.init.ones_(last.bias)  # else the final ReLU cuts half the image to zero
    if getattr(model, "fov_model", None) is not None:
        nn.init.constant_(model.fov_model.head.layers[-1].bias, 60.0)  # degrees


def _depth_anything_processor(size: int) -> Any:
    return DPTImageProcessorPil(
        size={"height": size, "width": size}, keep_aspect_ratio=True, ensure_multiple_of=14, resample=3, **IMAGENET
    )


def _depth_anything(**metric: Any) -> tuple[Any, Any]:
    backbone = {"model_type": "dinov2", "image_size": 70, "patch_size": 14, "mlp_ratio": 2, **TINY_VIT, **FOUR_LAYERS}
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=32, head_hidden_size=8, **TINY_NECK, **metric
    )
    return DepthAnythingForDepthEstimation(config), _depth_anything_processor(70)


def _depth_anything_metric() -> tuple[Any, Any]:
    return _depth_anything(depth_estimation_type="metric", max_depth=80)


def _dpt() -> tuple[Any, Any]:
    config = DPTConfig(
        **TINY_VIT, intermediate_size=64, image_size=64, backbone_out_indices=[0, 1, 2, 3], is_hybrid=False, **TINY_NECK
    )
    return DPTForDepthEstimation(config), DPTImageProcessorPil(size={"height": 64, "width": 64})


def _glpn() -> tuple[Any, Any]:
    config = GLPNConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        max_depth=80,
    )
    return GLPNForDepthEstimation(config), GLPNImageProcessorPil()


def _zoedepth() -> tuple[Any, Any]:
    backbone = {
        "model_type": "beit",
        "image_size": 64,
        "patch_size": 16,
        "intermediate_size": 64,
        "use_relative_position_bias": True,
        **TINY_VIT,
        **FOUR_LAYERS,
    }
    config = ZoeDepthConfig(
        backbone_config=backbone,
        bottleneck_features=16,
        num_relative_features=8,
        num_attractors=[4, 3, 2, 1],
        bin_embedding_dim=16,
        bin_configurations=[{"n_bins": 16, "min_depth": 0.001, "max_depth": 80.0}],
        **TINY_NECK,
    )
    return ZoeDepthForDepthEstimation(config), ZoeDepthImageProcessorPil(
        size={"height": 64, "width": 96}, ensure_multiple_of=32
    )


def _depth_pro() -> tuple[Any, Any]:
    encoder = {"model_type": "dinov2", "image_size": 32, "patch_size": 8, "mlp_ratio": 2, **TINY_VIT}
    config = DepthProConfig(
        patch_size=32,
        fusion_hidden_size=16,
        intermediate_hook_ids=[2, 1],
        intermediate_feature_dims=[16, 16],
        scaled_images_feature_dims=[32, 32, 16],
        use_fov_model=True,
        image_model_config=dict(encoder),
        patch_model_config=dict(encoder),
        fov_model_config=dict(encoder),
    )
    processor = {"image_processor_type": "DepthProImageProcessor", "size": {"height": 128, "width": 128}}
    return DepthProForDepthEstimation(config), processor


TINY: dict[str, Callable[[], tuple[Any, Any]]] = {
    "depth_anything": _depth_anything,
    "depth_anything_metric": _depth_anything_metric,
    "dpt": _dpt,
    "glpn": _glpn,
    "zoedepth": _zoedepth,
    "depth_pro": _depth_pro,
}
