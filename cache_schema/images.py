"""Frames as they are stored: the whole raw frame resized to the cache's size, as JPEG or raw RGB."""

from __future__ import annotations

import io
from typing import TypeAlias

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

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
    """JPEG file of a frame: the original's own bytes where they decode to just this image, else re-encoded.

    Chroma is not subsampled. Raises CacheError where the file would not fit its place in the array.
    """
    room = spec.height * spec.width * 3
    if len(original) <= room and _decodes_to(image, original, spec):
        return original
    buffer = io.BytesIO()
    Image.fromarray(resize(image, spec)).save(buffer, "JPEG", quality=spec.jpeg_quality, subsampling=0)
    if buffer.tell() > room:
        raise CacheError(
            f"a JPEG of {buffer.tell()} bytes exceeds the {room} bytes of its place in the cache; "
            "lower --jpeg-quality or use --image-encoding raw"
        )
    return buffer.getvalue()


def decode_jpeg(
    data: Buffer, spec: ImageSpec, out: UInt8[np.ndarray, "H W 3"] | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """RGB values of a stored JPEG file, in `out` if given: C-contiguous and of the cache's size.

    Raises CacheCorruptError where the file does not decode to the cache's size.
    """
    image = np.empty((spec.height, spec.width, 3), np.uint8) if out is None else out
    try:
        found = simplejpeg.decode_jpeg(data, "RGB", buffer=image).shape
    except ValueError as error:
        raise CacheCorruptError(f"a stored JPEG does not decode to {image.shape[:2]} ({error})") from error
    if found != image.shape:
        raise CacheCorruptError(f"a stored JPEG is {found[:2]}, expected {image.shape[:2]}")
    return image


def _decodes_to(image: UInt8[np.ndarray, "H W 3"], original: bytes, spec: ImageSpec) -> bool:
    if image.shape[:2] != (spec.height, spec.width) or not simplejpeg.is_jpeg(original):
        return False
    try:
        return np.array_equal(decode_jpeg(original, spec), image)
    except CacheCorruptError:
        return False
