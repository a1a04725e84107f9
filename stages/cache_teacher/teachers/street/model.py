"""The street teacher's network: a convolutional U-Net that predicts disparity up to scale and shift.

No depth model of transformers works on a convolutional backbone alone: the necks of DPT and Depth Anything take
the patch tokens of a transformer, GLPN is bound to SegFormer's encoder. On a processor core a U-Net also learns this
world far faster than a small transformer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, relu, softplus
from transformers import AutoConfig, AutoModelForDepthEstimation, PreTrainedConfig, PreTrainedModel, initialization
from transformers.modeling_outputs import DepthEstimatorOutput

from stages.cache_teacher.teachers.street.loss import street_loss
from stages.sliced_convolution import slice_strided_1x1

MODEL_TYPE = "street_depth"
COARSEST_PX = 32
"""Pixels that a cell of the deepest map is wide and high; the input's sides are multiples of it."""


class StreetDepthConfig(PreTrainedConfig):  # type: ignore[misc]
    """Size of the network; stages lie at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input."""

    model_type = MODEL_TYPE

    def __init__(
        self,
        channels: Sequence[int] = (16, 48, 96, 192, 288),
        blocks: Sequence[int] = (2, 2, 2, 2),
        decoder_channels: Sequence[int] = (16, 32, 64, 128),
        context_blocks: int = 1,
        context_heads: int = 6,
        **kwargs: Any,
    ) -> None:
        """Configure the network, finest stage first.

        Args:
            channels: of the encoder's five stages.
            blocks: residual blocks of the second to the fifth; the first is one convolution.
            decoder_channels: at 1/2, 1/4, 1/8 and 1/16.
            context_blocks: blocks of attention at 1/32, where every cell sees all others.
            context_heads: heads of these.
            kwargs: what every config of transformers has.
        """
        self.channels = list(channels)
        self.blocks = list(blocks)
        self.decoder_channels = list(decoder_channels)
        self.context_blocks = context_blocks
        self.context_heads = context_heads
        super().__init__(**kwargs)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al., CVPR 2016); the second starts at zero."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "B _ _ _"]) -> Float[Tensor, "B _ _ _"]:
        """The same size, or 1/stride of it."""
        y = relu(self.first_norm(self.first(x)), inplace=True)
        return relu(self.second_norm(self.second(y)) + self.shortcut(x), inplace=True)


class GlobalContext(nn.Module):
    """Attention of every cell of a map to all others; each knows where in the picture it lies, at any size."""

    def __init__(self, channels: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.place = nn.Linear(4, channels)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                channels, heads, 2 * channels, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        )

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The map, with what each cell learned from the others."""
        y, x_ = torch.meshgrid(_centres(x.shape[-2], x), _centres(x.shape[-1], x), indexing="ij")
        place = self.place(torch.stack([y, x_, y * y, x_ * x_], dim=-1).flatten(0, 1))  # h·w, C
        tokens: Tensor = x.flatten(2).transpose(1, 2) + place
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)


class Encoder(nn.Module):
    """From the image to a map at each of five scales."""

    def __init__(self, config: StreetDepthConfig) -> None:
        super().__init__()
        channels = config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                ResidualBlock(inputs, outputs, stride=2),
                *(ResidualBlock(outputs, outputs) for _ in range(blocks - 1)),
            )
            for inputs, outputs, blocks in zip(channels[:-1], channels[1:], config.blocks, strict=True)
        )
        self.context = GlobalContext(channels[-1], config.context_blocks, config.context_heads)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Maps at 1/2 … 1/32, finest first; the last has seen the whole image."""
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        maps[-1] = self.context(maps[-1])
        return maps


class Decoder(nn.Module):
    """From the deepest map back to 1/2, with the encoder's finer maps put beside the coarser ones."""

    def __init__(self, config: StreetDepthConfig) -> None:
        super().__init__()
        outputs = config.decoder_channels[::-1]
        inputs = [config.channels[-1], *outputs[:-1]]
        finer = config.channels[-2::-1]
        self.narrow = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(inputs, outputs, strict=True))
        self.fuse = nn.ModuleList(
            nn.Sequential(nn.Conv2d(o + f, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
            for o, f in zip(outputs, finer, strict=True)
        )

    def forward(self, maps: list[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B C h w"]:
        """Features at the scale of the first map."""
        x = maps[-1]
        for narrow, fuse, finer in zip(self.narrow, self.fuse, maps[-2::-1], strict=True):
            x = interpolate(narrow(x), size=finer.shape[-2:], mode="bilinear", align_corners=False)
            x = fuse(torch.cat([x, finer], dim=1))
        return x


class StreetDepthForDepthEstimation(PreTrainedModel):  # type: ignore[misc]
    """The network; see `forward`."""

    config_class = StreetDepthConfig
    base_model_prefix = "street_depth"
    main_input_name = "pixel_values"

    def __init__(self, config: StreetDepthConfig) -> None:
        super().__init__(config)
        self.encoder = slice_strided_1x1(Encoder(config))  # its shortcuts
        self.decoder = Decoder(config)
        self.head = nn.Conv2d(config.decoder_channels[0], 4, 3, padding=1)  # four pixels of the image each
        self.post_init()

    def forward(
        self, pixel_values: Float[Tensor, "B 3 H W"], labels: Float[Tensor, "B H W"] | None = None, **kwargs: Any
    ) -> DepthEstimatorOutput:
        """Disparity (B, H, W) up to a positive scale and a shift, as `predicted_depth`, transformers' name for it.

        `labels` are depths in metres, inf at the sky and NaN where nothing is known; with them comes the loss.

        Raises ValueError for an image whose sides are not multiples of 32.
        """
        height, width = pixel_values.shape[-2:]
        if height % COARSEST_PX or width % COARSEST_PX:
            raise ValueError(f"image of {height}x{width} pixels: expected multiples of {COARSEST_PX}")
        features = self.decoder(self.encoder(pixel_values))
        disparity = softplus(pixel_shuffle(self.head(features).float(), 2)).squeeze(1)
        loss = None if labels is None else street_loss(disparity, labels).total
        return DepthEstimatorOutput(loss=loss, predicted_depth=disparity)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            initialization.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, ResidualBlock):
            initialization.zeros_(module.second_norm.weight)


def _centres(cells: int, like: Tensor) -> Float[Tensor, "cells"]:
    """Centres of cells over −1 … 1."""
    return (torch.arange(cells, device=like.device, dtype=like.dtype) * 2 + 1) / cells - 1


AutoConfig.register(MODEL_TYPE, StreetDepthConfig, exist_ok=True)
AutoModelForDepthEstimation.register(StreetDepthConfig, StreetDepthForDepthEstimation, exist_ok=True)
