"""The encoder: a residual network from transformers, random or with weights from a hub or a folder."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import ResNetBackbone, ResNetConfig

from cache_schema.errors import TrainingError
from stages.sliced_convolution import slice_strided_1x1
from stages.train.config import EncoderConfig
from stages.train.student.encoder_source import check_source, find_weights
from stages.wording import one_line

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
    check_source(source, wanted)
    folder = find_weights(source)
    try:
        loaded = ResNetBackbone.from_pretrained(folder, config=wanted, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise TrainingError(f"encoder weights {source!r} cannot be loaded from {folder} ({one_line(error)})") from error
    encoder.backbone.load_state_dict(loaded.state_dict())
