"""Choosing the preprocessor of a teacher: exactly what the model's own image processor defines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from pydantic import JsonValue

from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers.checkpoint import PROCESSOR
from stages.cache_teacher.teachers.network import patch_px
from stages.cache_teacher.teachers.network_input import NetworkInput
from stages.cache_teacher.teachers.processors import (
    DepthProPreprocessor,
    DptPreprocessor,
    GlpnPreprocessor,
    ZoeDepthPreprocessor,
    require_one_resolution,
)
from stages.cache_teacher.teachers.street.processor import PROCESSOR_SETTINGS


@runtime_checkable
class Preprocessor(Protocol):
    """Turns raw frames into network input."""

    settings: dict[str, JsonValue]
    """The processor's settings and where they came from, for the teacher's identity."""

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]], scale: float) -> NetworkInput:
        """Process images of equal size; `scale` multiplies the size that the processor aims at."""
        ...


def load_preprocessor(
    config: Any, published: dict[str, Any] | None, scales: Sequence[int | float] = (1.0,)
) -> Preprocessor:
    """Preprocessor of a model from its transformers config and the processor settings published with it.

    Where none are published, those of the architecture's class are used, for Depth Anything and ZoeDepth
    corrected to what all their published checkpoints share; the identity says so.

    Raises TeacherError for a processor that would need torchvision, for settings that it fails at, and for scales it
    cannot work at.
    """
    settings = _CORRECTED_DEFAULTS.get(config.model_type, {}) if published is None else published
    source = "class defaults" if published is None else PROCESSOR
    name = _processor_name(published) or _USUAL_PROCESSOR.get(config.model_type)
    if name in ("DPTImageProcessor", "ZoeDepthImageProcessor") and settings.get("do_resize", True):
        _require_height_and_width(settings.get("size"))
    try:
        made = _preprocessor(name, settings, source, config, scales)
        if made is not None:
            made([np.zeros((96, 128, 3), np.uint8)], 1.0)
    except TeacherError:
        raise
    except Exception as error:  # transformers raises what it likes for settings it cannot use, some at the first image
        raise TeacherError(
            f"the settings of {name} in {source} cannot be used: {type(error).__name__}: {error}"
        ) from error
    if made is None:
        raise TeacherError(
            f"a {config.model_type!r} teacher with the image processor {name} is not supported: expected"
            f" one of {', '.join(sorted(set(_USUAL_PROCESSOR.values())))}"
        )
    return made


def _preprocessor(
    name: str | None, settings: dict[str, Any], source: str, config: Any, scales: Sequence[int | float]
) -> Preprocessor | None:
    match name:
        case "DPTImageProcessor":
            return DptPreprocessor(settings, source, patch_px(config))
        case "ZoeDepthImageProcessor":
            return ZoeDepthPreprocessor(settings, source, patch_px(config))
        case "GLPNImageProcessor":
            return GlpnPreprocessor(settings, source)
        case "DepthProImageProcessor":
            require_one_resolution(scales)
            return DepthProPreprocessor(settings, source)
    return None


def _require_height_and_width(size: object) -> None:
    """Raise TeacherError for another form of a size, which transformers' own processors of these families lack too."""
    sides = (size, size) if isinstance(size, int) else _sides(size)
    if size is not None and not all(isinstance(side, int) and side > 0 for side in sides):
        raise TeacherError(
            f'{PROCESSOR} has the size {size}; expected {{"height": …, "width": …}}, as the processors of depth models '
            "know no other (shortest_edge neither); write the height and width that the model was trained with"
        )


def _sides(size: object) -> tuple[object, ...]:
    return (size.get("height"), size.get("width")) if isinstance(size, dict) else (None,)


_USUAL_PROCESSOR = {
    "depth_anything": "DPTImageProcessor",
    "dpt": "DPTImageProcessor",
    "glpn": "GLPNImageProcessor",
    "zoedepth": "ZoeDepthImageProcessor",
    "depth_pro": "DepthProImageProcessor",
    "street_depth": "DPTImageProcessor",
}
_CORRECTED_DEFAULTS: dict[str, dict[str, Any]] = {
    # The class defaults are MiDaS's: 384 is no multiple of Depth Anything's patch of 14.
    "depth_anything": {
        "size": {"height": 518, "width": 518},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 14,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    # The class default is 1/32, its inverse.
    "zoedepth": {"ensure_multiple_of": 32},
    "street_depth": PROCESSOR_SETTINGS,
}


def _processor_name(published: dict[str, Any] | None) -> str | None:
    """Name of the processor's class, without what older and newer versions of transformers add to it."""
    if published is None:
        return None
    name = published.get("image_processor_type") or published.get("feature_extractor_type")
    return name and name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
