"""Images are read to the bit as Pillow reads them, and a file that lost something is refused by name."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.raw_files import decode_grey, decode_rgb

PATH = Path("front/000.jpg")
Change = Callable[[bytes], bytes]
OTHER_FORMS: list[dict[str, Any]] = [{"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}]


def photo(size_wh: tuple[int, int] = (161, 97)) -> Image.Image:
    """Smooth, with noise, so that JPEG has something to do in all of it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size_wh[1], : size_wh[0]]
    smooth = 120 + 60 * np.sin(x / 17)[..., None] * np.cos(y[..., None] / (11, 13, 19))
    return Image.fromarray((smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data: bytes, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


GOOD = {
    "4:4:4": lambda: saved(photo(), subsampling=0, quality=95),
    "4:2:2": lambda: saved(photo(), subsampling=1),
    "4:2:0": lambda: saved(photo(), subsampling=2),
    "4:2:0 of an even size": lambda: saved(photo((160, 96)), subsampling=2),
    "progressive": lambda: saved(photo(), progressive=True),
    "grey": lambda: saved(photo().convert("L")),
    "RGB without conversion": lambda: saved(photo(), keep_rgb=True),
    "restart markers": lambda: saved(photo(), restart_marker_rows=1),
    "profile and turned by EXIF": lambda: saved(photo(), icc_profile=b"profile" * 9, exif=_turned()),
    "several pictures of a phone": lambda: saved(photo(), "MPO", save_all=True, append_images=[photo((80, 48))]),
    "something behind its end": lambda: saved(photo()) + b"\0maker's notes" * 50,
    "CMYK with Adobe's marker": lambda: saved(photo().convert("CMYK")),
    "PNG": lambda: saved(photo(), "PNG"),
    "PNG with a palette": lambda: saved(photo().convert("P"), "PNG"),
    "PNG, grey": lambda: saved(photo().convert("L"), "PNG"),
    "PNG, black and white": lambda: saved(photo().convert("1"), "PNG"),
    "PNG with opaque alpha": lambda: saved(photo().convert("RGBA"), "PNG"),
    "PNG, interlaced": lambda: interlaced(),
    "PNG, animated": lambda: saved(photo(), "PNG", save_all=True, append_images=[photo().rotate(180)]),
    "PNG with something behind its end": lambda: saved(photo(), "PNG") + b"\0" * 64,
}


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("case", GOOD)
def test_good_files_are_read_as_pillow_reads_them(case: str) -> None:
    data = GOOD[case]()
    np.testing.assert_array_equal(decode_rgb(data, PATH), by_pillow(data))
    np.testing.assert_array_equal(decode_grey(data, PATH), by_pillow(data, "L"))


def test_transparency_of_a_palette_is_passed_over_in_silence() -> None:
    image = photo().convert("P")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = decode_rgb(saved(image, "PNG", transparency=bytes(range(256))), PATH)
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_cmyk_without_a_marker_is_read_as_pillow_reads_it() -> None:
    data = saved(photo().convert("CMYK"))
    marker = data.index(b"\xff\xee")
    data = data[:marker] + data[marker + 2 + int.from_bytes(data[marker + 2 : marker + 4], "big") :]
    np.testing.assert_array_equal(decode_rgb(data, PATH), by_pillow(data))


def hole(start: float, stop: float) -> Change:
    return lambda data: (
        data[: int(start * len(data))]
        + bytes(int(stop * len(data)) - int(start * len(data)))
        + (data[int(stop * len(data)) :])
    )


def flipped(data: bytes) -> bytes:
    """Not every flip leaves a trace; these do."""
    changed = bytearray(data)
    for at in np.random.default_rng(1).integers(len(data) // 2, len(data) * 9 // 10, 8):
        changed[at] ^= 1 << int(at % 8)
    return bytes(changed)


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def without_its_end(data: bytes) -> bytes:
    return data[:-2]


def ended_early(data: bytes) -> bytes:
    """As a tool leaves it that closes what it could not finish."""
    return data[: len(data) // 2] + b"\xff\xd9"


def without_a_restart(data: bytes) -> bytes:
    at = data.index(b"\xff\xd3")
    return data[:at] + data[at + 2 :]


DAMAGES: dict[str, Change] = {
    "a hole of zeros": hole(0.5, 0.75),
    "the second half zero": hole(0.5, 1),
    "all but the start zero": hole(0.1, 1),
    "half of it": halved,
    "without its end": without_its_end,
    "ended early": ended_early,
}


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}], ids=str
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_jpeg_is_refused(damage: str, options: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match=r"^front/000\.jpg: does not decode \(.*\); expected an undamaged") as error:
        decode_rgb(DAMAGES[damage](saved(photo(), **options)), PATH)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("image", [photo().convert("L"), photo().convert("CMYK")], ids=lambda image: image.mode)
@pytest.mark.parametrize("decode", [decode_rgb, decode_grey])
def test_so_is_one_in_grey_or_cmyk(image: Image.Image, decode: Callable[[bytes, Path], np.ndarray]) -> None:
    with pytest.raises(DatasetError, match="does not decode"):
        decode(hole(0.5, 0.75)(saved(image)), PATH)


@pytest.mark.parametrize("options", OTHER_FORMS, ids=str)
def test_flipped_bits_are_refused_where_libjpeg_notices(options: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match="does not decode"):
        decode_rgb(flipped(saved(photo(), **options)), PATH)


def test_a_lost_restart_marker_is_noticed() -> None:
    with pytest.raises(DatasetError, match="does not decode"):
        decode_rgb(without_a_restart(saved(photo(), restart_marker_rows=1)), PATH)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull fetches it"),
        (b"\n<!DOCTYPE html><title>404</title>", "it is a web page"),
        (bytes(5000), "it holds zeros alone"),
        (b"nothing of this kind", "unknown format"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(content: bytes, found: str) -> None:
    with pytest.raises(DatasetError, match=found):
        decode_rgb(content, PATH)


def png(*chunks: tuple[bytes, bytes], wrong: bytes = b"") -> bytes:
    """A PNG of these chunks; the checksum of the kind `wrong` is wrong."""
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ (kind == wrong))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(width: int, height: int, bits: int = 8, colours: int = 2, interlaced: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced)


def interlaced() -> bytes:
    """5×5 pixels in Adam7's passes, each row after its filter byte."""
    image = np.asarray(photo())[:5, :5]
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in passes for row in image[y::dy, x::dx] if row.size]
    return png(header(5, 5, interlaced=1), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))


def squeezed(image: np.ndarray) -> bytes:
    """Rows, each after its filter byte."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in image))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (saved(photo(), "PNG")[:-20], "truncated"),
        (saved(photo(), "PNG")[:-12], "it has no end"),
        (hole(0.5, 0.75)(saved(photo(), "PNG")), "does not decode"),
        (
            png(header(4, 4), (b"IDAT", squeezed(np.ones((4, 4, 3), np.uint8))), (b"IEND", b""), wrong=b"IDAT"),
            "wrong checksum in IDAT",
        ),
        (
            png(header(4, 4), (b"IDAT", squeezed(np.ones((2, 4, 3), np.uint8))), (b"IEND", b"")),
            "has 26 bytes of pixels, expected 52",
        ),
    ],
    ids=["cut", "without its end", "a hole of zeros", "wrong checksum", "half of its rows"],
)  # fmt: skip
def test_a_damaged_png_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(DatasetError, match=found):
        decode_rgb(data, PATH)


@pytest.mark.parametrize(("colours", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_ten_bits_in_sixteen_are_refused_not_shown_nearly_black(colours: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 1024, (6, 8, channels)).astype(">u2")
    data = png(header(8, 6, 16, colours), (b"IDAT", squeezed(values)), (b"IEND", b""))
    with pytest.raises(DatasetError, match=r"more than 8 bits a pixel .*: 16 for grey or each colour; expected 8"):
        decode_rgb(data, PATH)
