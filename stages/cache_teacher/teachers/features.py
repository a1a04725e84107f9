"""The backbone's last selected layer, overheard during the forward pass that predicts depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers.network import network_class, patch_px


class FeatureTap:
    """Keeps the features of a transformers model's last forward pass until they are taken.

    Raises TeacherError for an architecture without a known backbone.
    """

    def __init__(self, model: Any) -> None:
        module, self._select = _tap_point(model)
        self._patch_px = patch_px(model.config)
        self._heard: Any = None
        module.register_forward_hook(self._hear)

    def _hear(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._heard = self._select(output)

    def take(self, input_hw: tuple[int, int]) -> Float[Tensor, "V C hf wf"]:
        """Features of the network input (height, width in pixels) that was passed last, as a map, in float32."""
        features: Tensor = self._heard
        self._heard = None
        if features.ndim == 3:
            features = _grid(features, (input_hw[0] // self._patch_px, input_hw[1] // self._patch_px))
        return features.float()


def channels_of(config: Any) -> int:
    """Channels of the features of a teacher with this transformers config, told without its weights.

    Raises TeacherError for an architecture without a known backbone.
    """
    with torch.device("meta"):  # layers without numbers
        model = network_class(config)(config)
    _tap_point(model)
    if getattr(model, "backbone", None) is not None:
        return int(model.backbone.channels[-1])
    match config.model_type:
        case "glpn":
            return int(config.hidden_sizes[-1])
        case "depth_pro":
            return int(config.image_model_config.hidden_size)
        case "street_depth":
            return int(config.channels[-1])
    return int(config.hidden_size)


def _tap_point(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The module to listen to, and how to find the features in its output."""
    if getattr(model, "backbone", None) is not None:  # Depth Anything, ZoeDepth, DPT on BEiT, Swin or DINOv2
        return model.backbone, lambda output: output.feature_maps[-1]
    match model.config.model_type:
        case "dpt":
            last = max(model.config.backbone_out_indices)
            return model.dpt.encoder.layer[last], lambda output: output[0] if isinstance(output, tuple) else output
        case "glpn":
            return model.glpn.encoder, lambda output: output.last_hidden_state
        case "depth_pro":
            # The encoder of the whole image: its patch encoder sees no context beyond a patch.
            return model.depth_pro.encoder.image_encoder, lambda output: output.features
        case "street_depth":
            return model.encoder, lambda output: output[-1]
    raise TeacherError(
        f"do not know where a {model.config.model_type!r} model has its backbone, so it has no features to cache"
    )


def _grid(tokens: Float[Tensor, "V N C"], grid_hw: tuple[int, int]) -> Float[Tensor, "V C hf wf"]:
    """Lay the patch tokens out as a map; class and register tokens come before them and are dropped."""
    patches = tokens[:, -grid_hw[0] * grid_hw[1] :]
    return patches.transpose(1, 2).reshape(len(tokens), -1, *grid_hw)
