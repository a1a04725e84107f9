"""How the street teacher sees a frame: the settings of the image processor that is published with it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def processor_settings(height: int, width: int) -> dict[str, Any]:
    """Settings of transformers' DPT processor: about height × width pixels, each side a multiple of 32."""
    return {
        "image_processor_type": "DPTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 32,
        "resample": 3,  # bicubic; a frame of the right size is not touched
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
        "do_pad": False,
    }


PROCESSOR_SETTINGS = processor_settings(96, 160)
"""Where a checkpoint comes without settings of its own."""


def normalized(images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Images with values from 0 to 255 as the network takes them, the same numbers as the processor's."""
    mean, std = (images.new_tensor(each, dtype=torch.float32).view(3, 1, 1) for each in (IMAGE_MEAN, IMAGE_STD))
    return (images.float() / 255 - mean) / std
