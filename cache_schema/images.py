"""Frames as they are stored: the whole raw frame resized to the cache's size, as JPEG or raw RGB."""

from __future__ import annotations

import io
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from cache_schema.errors import CacheCorruptError, CacheError
from cache_schema.manifest import ImageSpec

Buffer: TypeAlias = bytes | memoryview


def resize(image: UInt8[np.ndarray, "H W 3"], spec: ImageSpec) -> UInt8[np.ndarray, "h w 3"]:
    """The whole frame at the cache's size (Lanczos with anti-aliasing; the aspect ratio may change)."""
    if image.shape[:2] == (spec.height, spec.width):
        return image
    resized = Image.fromarray(image).resize((spec.width, spec.height), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def encode_jpeg(image: UInt8[np.ndarray, "H W 3"], original: bytes, spec: ImageSpec) -> bytes:
    """JPEG file of a frame: the original's own bytes where it is a JPEG of the right size, else re-encoded.

    Chroma is not subsampled. Raises CacheError where the file would not fit its place in the array.
    """
    room = spec.height * spec.width * 3
    right_size = image.shape[:2] == (spec.height, spec.width)
    if right_size and original.startswith(b"\xff\xd8") and len(original) <= room:
        return original
    buffer = io.BytesIO()
    Image.fromarray(resize(image, spec)).save(buffer, "JPEG", quality=spec.jpeg_quality, subsampling=0)
    if buffer.tell() > room:
        raise CacheError(
            f"a JPEG of {buffer.tell()} bytes exceeds the {room} bytes of its place in the cache; "
            "lower --jpeg-quality or use --image-encoding raw"
        )
    return buffer.getvalue()


def decode_jpeg(data: Buffer, spec: ImageSpec) -> UInt8[np.ndarray, "H W 3"]:
    """RGB values of a stored JPEG file. Raises CacheCorruptError where it does not decode to the cache's size."""
    try:
        opened = Image.open(io.BytesIO(data))
        image = np.asarray(opened if opened.mode == "RGB" else opened.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise CacheCorruptError(f"a stored JPEG does not decode ({error})") from error
    if image.shape != (spec.height, spec.width, 3):
        raise CacheCorruptError(f"a stored JPEG is {image.shape[:2]}, expected {(spec.height, spec.width)}")
    return image
