"""Images at the size a student was trained on."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def resize_images(images: UInt8[np.ndarray, "V H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "V h w 3"]:
    """Images at `size` = (height, width), by the same rule as the cache's own resizing; unchanged if they fit."""
    if images.shape[1:3] == size:
        return images
    height, width = size
    resized = [Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(image) for image in resized])
