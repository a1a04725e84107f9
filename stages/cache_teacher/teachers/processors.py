"""From raw frames to the network's input, by each family's own image processor.

The Pillow processors of transformers are used as they are. Its torchvision processors, which other programs may
use for the same checkpoint, round the resize differently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from pydantic import JsonValue
from torch import Tensor
from transformers import DPTImageProcessorPil, GLPNImageProcessorPil, ZoeDepthImageProcessorPil

from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers.depth_pro import DepthProImageProcessor
from stages.cache_teacher.teachers.network_input import NetworkInput, Window


class DptPreprocessor:
    """Depth Anything and DPT: resized to a multiple of the patch, or (DINOv2's heads) only padded to one."""

    def __init__(self, settings: dict[str, Any], source: str, patch_px: int) -> None:
        self._processor = DPTImageProcessorPil.from_dict(settings)
        self._patch_px = patch_px
        self.settings = _as_json(self._processor.to_dict(), source)

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]], scale: float) -> NetworkInput:
        """Process images of equal size, see `Preprocessor`."""
        changes = {} if scale == 1.0 else self._scaled(images[0].shape[:2], scale)
        pixel_values = _process(self._processor, images, **changes)
        return NetworkInput(pixel_values, self._window(images, pixel_values, changes))

    def _scaled(self, image_hw: tuple[int, ...], scale: float) -> dict[str, Any]:
        if not self._processor.do_resize:  # padding follows and makes the multiple
            size_hw, rule = image_hw, {"do_resize": True, "keep_aspect_ratio": False, "ensure_multiple_of": 1}
        else:
            size_hw = self._processor.size.height, self._processor.size.width
            rule = {"ensure_multiple_of": _multiple(self._processor.ensure_multiple_of, self._patch_px)}
        return {"size": _size(size_hw, scale), **rule}

    def _window(
        self,
        images: Sequence[UInt8[np.ndarray, "H W 3"]],
        pixel_values: Float[Tensor, "V 3 h w"],
        changes: dict[str, Any],
    ) -> Window:
        if not self._processor.do_pad:
            return Window()
        height, width = _process(self._processor, images[:1], do_pad=False, **changes).shape[-2:]
        padded_height, padded_width = pixel_values.shape[-2:]
        top, left = (padded_height - height) // 2, (padded_width - width) // 2
        return Window.inside((height, width), top, left, (padded_height, padded_width))


class ZoeDepthPreprocessor:
    """ZoeDepth: the frame is padded by reflection against border artefacts, then resized."""

    def __init__(self, settings: dict[str, Any], source: str, patch_px: int) -> None:
        self._processor = ZoeDepthImageProcessorPil.from_dict(settings)
        self._patch_px = patch_px
        self.settings = _as_json(self._processor.to_dict(), source)

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]], scale: float) -> NetworkInput:
        """Process images of equal size, see `Preprocessor`."""
        changes = {} if scale == 1.0 else self._scaled(scale)
        return NetworkInput(_process(self._processor, images, **changes), self._window(*images[0].shape[:2]))

    def _scaled(self, scale: float) -> dict[str, Any]:
        size = self._processor.size
        return {
            "size": _size((size.height, size.width), scale),
            "ensure_multiple_of": _multiple(self._processor.ensure_multiple_of, self._patch_px),
        }

    def _window(self, height: int, width: int) -> Window:
        if not self._processor.do_pad:
            return Window()
        top, left = (int(math.sqrt(extent / 2) * 3) for extent in (height, width))  # pixels of the raw frame
        return Window.inside((height, width), top, left, (height + 2 * top, width + 2 * left))


class GlpnPreprocessor:
    """GLPN: the raw frame's own size, rounded down to a multiple; a large frame makes a large input."""

    def __init__(self, settings: dict[str, Any], source: str) -> None:
        self._processor = GLPNImageProcessorPil.from_dict(settings)
        self.settings = _as_json(self._processor.to_dict(), source)

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]], scale: float) -> NetworkInput:
        """Process images of equal size, see `Preprocessor`."""
        if scale == 1.0:
            return NetworkInput(_process(self._processor, images), Window())
        # The processor has no size to multiply, so its rule is applied here to the scaled frame, in one resize.
        divisor = self._processor.size_divisor
        height, width = (max(1, int(extent * scale) // divisor) * divisor for extent in images[0].shape[:2])
        resized = [
            np.asarray(Image.fromarray(image).resize((width, height), self._processor.resample)) for image in images
        ]
        return NetworkInput(_process(self._processor, resized, do_resize=False), Window())


class DepthProPreprocessor:
    """Depth Pro: one fixed square input, which its patches are cut from."""

    def __init__(self, settings: dict[str, Any], source: str) -> None:
        self._processor = DepthProImageProcessor(settings)
        self.settings = _as_json(self._processor.settings, source)

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]], scale: float) -> NetworkInput:
        """Process images of equal size, see `Preprocessor`; raises TeacherError for a scale other than 1."""
        require_one_resolution([scale])
        return NetworkInput(self._processor(images), Window())


def require_one_resolution(scales: Sequence[int | float]) -> None:
    """Raises TeacherError for a scale other than 1: Depth Pro's patches would not cover another input."""
    for scale in scales:
        if scale != 1.0:
            raise TeacherError(f"Depth Pro works at one resolution: leave out the scale {scale}")


def _multiple(ensured: int | float, patch_px: int) -> int:
    """What a scaled size must be a multiple of, so that the patches cover it."""
    return math.lcm(max(1, int(ensured)), patch_px)


def _size(size_hw: Sequence[int], scale: float) -> dict[str, int]:
    height, width = (max(1, round(extent * scale)) for extent in size_hw)
    return {"height": height, "width": width}


def _process(processor: Any, images: Sequence[UInt8[np.ndarray, "H W 3"]], **changes: Any) -> Float[Tensor, "V 3 h w"]:
    # Named layout: inferring it from the shape would take a frame three pixels high for channels first.
    batch = processor(images=list(images), input_data_format="channels_last", return_tensors="pt", **changes)
    pixel_values: Tensor = batch["pixel_values"]
    return pixel_values.to(torch.float32)


def _as_json(settings: dict[str, Any], source: str) -> dict[str, JsonValue]:
    as_json: dict[str, JsonValue] = json.loads(json.dumps({**settings, "source": source}))
    return as_json
