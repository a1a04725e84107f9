"""Depth Pro's image processor without torchvision, which transformers' own needs.

Same steps in the same order: rescale, normalise, then resize bilinearly without antialiasing (half-pixel centres).
transformers folds rescaling and normalisation into one subtraction and division; rounding in float32 is all that
differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from cache_schema.errors import TeacherError

_DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 1536, "width": 1536},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_ALWAYS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2}


class DepthProImageProcessor:
    """Scales frames to Depth Pro's square input, aspect ratio not kept."""

    def __init__(self, published: dict[str, Any]) -> None:
        self.settings = {name: published.get(name, usual) for name, usual in _DEFAULTS.items()}
        size = self.settings["size"]
        self.settings["size"] = {"height": size, "width": size} if isinstance(size, int) else size
        if not isinstance(size, int) and not (isinstance(size, dict) and {*size} == {"height", "width"}):
            raise TeacherError(f"Depth Pro's processor has the size {size}; expected a height and a width")
        other = [f"{name}={self.settings[name]}" for name, value in _ALWAYS.items() if self.settings[name] != value]
        if other:
            raise TeacherError(
                f"Depth Pro's processor is implemented with {_ALWAYS}, the model asks for {', '.join(other)}"
            )

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> Float[Tensor, "V 3 h w"]:
        """Process images of equal size."""
        rgb = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) * self.settings["rescale_factor"]
        mean, std = (torch.tensor(self.settings[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
        size_hw = self.settings["size"]["height"], self.settings["size"]["width"]
        return interpolate((rgb - mean) / std, size_hw, mode="bilinear", align_corners=False)
