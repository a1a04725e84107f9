"""Images at the size a student was trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def resize_images(
    images: UInt8[np.ndarray, "V H W 3"],
    size: tuple[int, int],
    *,
    box_px: tuple[float, float, float, float] | None = None,
    retouch: Callable[[Image.Image], Image.Image] | None = None,
) -> UInt8[np.ndarray, "V h w 3"]:
    """Images at `size` = (height, width), by the same rule as the cache's own resizing; unchanged if they fit.

    Of each only `box_px` = (left, top, right, bottom), where given, and after `retouch`.
    """
    height, width = size
    whole = (0, 0, images.shape[2], images.shape[1])
    fits = images.shape[1:3] == size and box_px in (None, whole)
    if fits and retouch is None:
        return images

    def one(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        image = Image.fromarray(pixels)
        if not fits:
            image = image.resize((width, height), Image.Resampling.LANCZOS, box=box_px)
        return np.asarray(image if retouch is None else retouch(image))

    return np.stack([one(image) for image in images])
