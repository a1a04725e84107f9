"""JPEG and PNG files decoded so that damage is an error: Pillow alone fills lost parts with grey, and says nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

_PNG_SIGNATURE = 8
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PNG_WHOLE = ((0, 0, 1, 1),)
_PNG_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps between columns and rows, of each pass of an interlaced file."""


def bits_per_channel(image: Image.Image, data: bytes) -> int:
    """Bits of each channel of an opened image. Of a 16-bit PNG in colour, Pillow shows the upper 8 and tells nobody."""
    if image.format == "PNG":
        return data[_PNG_SIGNATURE + 16]
    return 32 if image.mode.startswith(("I", "F")) else 8


def pixels(image: Image.Image, data: bytes, mode: str) -> np.ndarray:
    """An opened image's pixels in Pillow's mode `RGB` or `L`, to the bit as Pillow decodes them; `data` is its file.

    Raises ValueError where libjpeg warns about a JPEG, or a PNG is not whole; and what Pillow raises.
    """
    if image.format == "PNG":
        _require_whole_png(data)
    elif image.mode == "CMYK":
        simplejpeg.decode_jpeg(data, "CMYK")  # for its warnings alone: in RGB it differs from Pillow by a grey level
    else:
        rgb: UInt8[np.ndarray, "H W 3"] = simplejpeg.decode_jpeg(data, "RGB")
        return rgb if mode == "RGB" else np.asarray(Image.fromarray(rgb).convert(mode))
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")  # else Pillow warns; transparency is ignored either way
    # convert() copies even where there is nothing to convert.
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _require_whole_png(data: bytes) -> None:
    """Raise ValueError where checksums of critical chunks are wrong, the end is missing, or rows are."""
    chunks = list(_png_chunks(data))
    if not chunks or chunks[-1][0] != b"IEND":
        raise ValueError("PNG file is truncated: it has no end")
    header = next(body for kind, body in chunks if kind == b"IHDR")
    expected = _png_bytes(header)
    squeezed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    found = len(zlib.decompressobj().decompress(squeezed, expected))
    if found < expected:
        raise ValueError(f"PNG file has {found} bytes of pixels, expected {expected}")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each critical chunk up to IEND. Raises ValueError where a checksum is wrong."""
    at = _PNG_SIGNATURE
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body, checksum = data[at + 4 : at + 8], data[at + 8 : at + 8 + length], data[at + 8 + length :][:4]
        at += 12 + length
        if at > len(data):
            return
        if kind[:1].isupper():
            if checksum != struct.pack(">I", zlib.crc32(kind + body)):
                raise ValueError(f"PNG file has a wrong checksum in {kind.decode('ascii', 'replace')}")
            yield kind, body
        if kind == b"IEND":
            return


def _png_bytes(header: bytes) -> int:
    """Bytes of the pixels that a PNG's header promises: its rows, each after a byte that names its filter."""
    width, height, bits, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    passes = _PNG_ADAM7 if interlaced else _PNG_WHOLE
    sizes = [(-(-max(width - x, 0) // dx), -(-max(height - y, 0) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * bits * _PNG_CHANNELS[colours] // 8)) for columns, rows in sizes if columns)
