"""Stored JPEG files decode to the pixels that Pillow gives, or raise; originals are kept where nothing changes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cache_schema.errors import CacheCorruptError
from cache_schema.images import decode_jpeg, encode_jpeg
from cache_schema.manifest import ImageSpec

SPEC = ImageSpec(height=48, width=80)


def picture(mode: str = "RGB", size: tuple[int, int] = (80, 48)) -> Image.Image:
    """Smooth colours with an edge and a little noise."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    colours = np.stack([3 * x, 5 * y, 2 * x + 90 * (x > y)], axis=-1) + np.random.default_rng(0).integers(
        0, 9, (*x.shape, 3)
    )
    return Image.fromarray((colours % 256).astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def as_pillow_decodes(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}, {"quality": 20}]
)
def test_pixels_are_those_of_pillow_and_the_file_is_kept(mode: str, options: dict[str, object]) -> None:
    file = jpeg(picture(mode), **options)
    image = as_pillow_decodes(file)
    np.testing.assert_array_equal(decode_jpeg(file, SPEC), image, strict=True)
    assert encode_jpeg(image, file, SPEC) == file


def test_an_array_for_the_pixels_may_be_given() -> None:
    images = np.zeros((3, 48, 80, 3), np.uint8)
    file = jpeg(picture())
    decode_jpeg(memoryview(file), SPEC, out=images[1])
    np.testing.assert_array_equal(images[1], as_pillow_decodes(file))
    assert not images[0].any()
    assert not images[2].any()


@pytest.mark.parametrize(
    "original",
    [
        jpeg(picture("CMYK")),  # its decoders disagree on what it looks like
        jpeg(picture(size=(81, 48))),
        jpeg(picture())[:-200],
        b"\x89PNG\r\n\x1a\n",
        b"",
    ],
    ids=["cmyk", "another size", "cut", "no jpeg", "empty"],
)
def test_an_original_that_does_not_decode_to_the_image_is_not_kept(original: bytes) -> None:
    image = np.asarray(picture())
    stored = encode_jpeg(image, original, SPEC)
    assert stored != original
    assert np.abs(decode_jpeg(stored, SPEC).astype(int) - image).mean() < 4


def test_an_original_with_other_pixels_is_not_kept() -> None:
    """As when the dataset's reader has turned or undistorted the frame."""
    image = np.asarray(picture())
    assert encode_jpeg(image[::-1].copy(), jpeg(picture()), SPEC) != jpeg(picture())


@pytest.mark.parametrize("size", [(40, 48), (80, 40), (81, 48), (160, 96), (48, 80)])
def test_a_file_of_another_size_is_damage(size: tuple[int, int]) -> None:
    with pytest.raises(CacheCorruptError, match="stored JPEG"):
        decode_jpeg(jpeg(picture(size=size)), SPEC)


@pytest.mark.parametrize("damage", [b"", b"\xff\xd8", jpeg(picture())[:300], jpeg(picture())[40:]])
def test_a_file_that_does_not_decode_is_damage(damage: bytes) -> None:
    with pytest.raises(CacheCorruptError, match="stored JPEG"):
        decode_jpeg(damage, SPEC)
