"""The encoder: a residual network from transformers, random or with weights from a hub or a folder."""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import ResNetBackbone, ResNetConfig

from cache_schema.errors import ConfigError, TrainingError
from stages.sliced_convolution import slice_strided_1x1
from stages.train.config import EncoderConfig

STAGES = ("stage1", "stage2", "stage3", "stage4")

# Mean and standard deviation of ImageNet's RGB values in [0, 1], which every published ResNet expects.
RGB_MEAN = (0.485, 0.456, 0.406)
RGB_STD = (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """Feature maps at 1/4, 1/8, 1/16 and 1/32 of the image."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.backbone = slice_strided_1x1(ResNetBackbone(backbone_config(config)))  # its shortcuts
        self.register_buffer("mean", torch.tensor(RGB_MEAN).mul(255)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(RGB_STD).mul(255)[:, None, None], persistent=False)

    def forward(self, images: UInt8[Tensor, "N H W 3"]) -> tuple[Float[Tensor, "N _ _ _"], ...]:
        """The four feature maps of RGB images, finest first."""
        # Moving an axis without copying leaves the channels last in memory, which convolutions like best.
        rgb = images.permute(0, 3, 1, 2)  # N, 3, H, W
        return tuple(self.backbone((rgb - self.mean) / self.std).feature_maps)


def backbone_config(config: EncoderConfig) -> ResNetConfig:
    """The same network in transformers' terms."""
    return ResNetConfig(
        layer_type=config.layer_type,
        embedding_size=config.embedding_size,
        depths=list(config.depths),
        hidden_sizes=list(config.hidden_sizes),
        out_features=list(STAGES),
    )


def load_encoder_weights(encoder: Encoder, config: EncoderConfig, source: str) -> None:
    """Fill an encoder with the weights of a ResNet: a hub id, or a folder with config.json and safetensors.

    Raises TrainingError where the source cannot be read, ConfigError where it is another network.
    """
    wanted = backbone_config(config)
    _refuse_other_architecture(_read(ResNetConfig, source), wanted, source)
    loaded, info = _read(ResNetBackbone, source, config=wanted, use_safetensors=True, output_loading_info=True)
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise TrainingError(f"{source} lacks {len(info['missing_keys'])} weights of a ResNet, among them {missing}")
    encoder.backbone.load_state_dict(loaded.state_dict())


def _read(kind: Any, source: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"encoder weights {source!r} cannot be read: they are neither a folder with config.json and "
            f"model.safetensors nor a model id found on the hub or in {HF_HUB_CACHE}; "
            "set encoder_weights to such a folder, or leave it out to start from random weights"
        ) from error


def _refuse_other_architecture(found: ResNetConfig, wanted: ResNetConfig, source: str) -> None:
    names = [name for name in EncoderConfig.model_fields if getattr(found, name) != getattr(wanted, name)]
    if names:
        settings = ", ".join(f"student.encoder.{name}={getattr(found, name)}" for name in names)
        raise ConfigError(f"encoder weights {source!r} are of another network; to use them set {settings}")
