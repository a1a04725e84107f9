"""Raw files of a dataset, read so that whatever is wrong with one becomes a DatasetError naming it."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, UnidentifiedImageError

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets import strict_images
from stages.json_text import BadJsonError, checked_json
from stages.text import POINTER, is_pointer, is_pointer_file

MAX_SIDE_PX = 65536  # pixel coordinates are stored as uint16
IMAGE_FORMATS = ("JPEG", "PNG")  # some of Pillow's other formats start programs
REMEDY = "replace it, or extract it again from the dataset's archive"

_BAD_IMAGE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, Image.DecompressionBombError)
_BAD_NPZ = (OSError, EOFError, ValueError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def path_inside(folder: Path, relative: str, named_in: Path) -> Path:
    """A file that metadata names relative to `folder`. Raises DatasetError where the name leads out of it."""
    name = PurePosixPath(relative)
    if not name.parts or name.is_absolute() or ".." in name.parts or "\0" in relative or "\\" in relative:
        raise DatasetError(
            f"{named_in}: names the file {relative!r}; expected a path inside {folder}, relative to it, with / between "
            "its parts; a downloaded dataset that names others is not to be trusted"
        )
    return folder / name


class FilesOnDisk:
    """Which files of a dataset can be read at all, from one listing of each folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[tuple[Path, str], dict[str, int]] = {}

    def lacks(self, folder: Path, relative: str, named_in: Path) -> str | None:
        """`no file …` or `empty file …`, relative to the dataset; None where there is something to read.

        Raises DatasetError like `path_inside`.
        """
        size = self.size(folder, relative, named_in)
        return (
            None if size else f"{'no' if size is None else 'empty'} file {(folder / relative).relative_to(self._root)}"
        )

    def size(self, folder: Path, relative: str, named_in: Path) -> int | None:
        """The bytes of a file; None where there is none. Raises DatasetError like `path_inside`."""
        inner, _, name = relative.rpartition("/")
        if (folder, inner) not in self._listed:
            self._listed[folder, inner] = _sizes(path_inside(folder, relative, named_in).parent)
        return self._listed[folder, inner].get(name)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder; no entry for a folder, or for a link to nothing."""
    sizes: dict[str, int] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    sizes[entry.name] = status.st_size
    return sizes


def read_bytes(path: Path) -> bytes:
    """All of a file. Raises DatasetError where it is missing, unreadable, or a pointer in its place."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    if is_pointer(data):
        raise DatasetError(f"{path}: {POINTER}")
    return data


def refuse_pointer(path: Path) -> None:
    """Raise DatasetError where Git LFS has not put the file in the place of its pointer; else say nothing of it."""
    if is_pointer_file(path):
        raise DatasetError(f"{path}: {POINTER}")


def read_json(path: Path) -> str:
    """The text of a JSON file, checked. Raises DatasetError as `read_bytes` and `checked_json` do."""
    try:
        return checked_json(read_bytes(path))
    except BadJsonError as error:
        raise DatasetError(f"{path}: Invalid JSON: it {error}; expected UTF-8 with each key once; mend it") from error


def decode_rgb(data: bytes, path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """The RGB values of an image file's bytes.

    Raises DatasetError where it does not decode without a warning, has more than 8 bits a channel, or is too large for
    pixel coordinates in uint16.
    """
    return _decode(data, path, "RGB")


def decode_views(files: Sequence[bytes], paths: Sequence[Path]) -> tuple[UInt8[np.ndarray, "H W 3"], ...]:
    """The images of a rig. Raises DatasetError like `decode_rgb`, and where they are not of one size."""
    images = tuple(decode_rgb(data, path) for data, path in zip(files, paths, strict=True))
    shapes = [image.shape for image in images]
    usual = max(shapes, key=shapes.count)
    for shape, path in zip(shapes, paths, strict=True):
        if shape != usual:
            raise DatasetError(
                f"{path}: is {shape[1]}×{shape[0]} pixels; expected {usual[1]}×{usual[0]} as most images of its "
                "sample; where a camera has another resolution, scale its images and intrinsics to that of the others"
            )
    return images


def image_size(path: Path) -> tuple[int, int] | None:
    """Height and width of an image file, from its header; None where it has none that can be read."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return image.height, image.width
    except _BAD_IMAGE:
        return None


def decode_grey(data: bytes, path: Path) -> UInt8[np.ndarray, "H W"]:
    """The luminance of an image file's bytes, transparency ignored. Raises DatasetError like `decode_rgb`."""
    return _decode(data, path, "L")


def read_points(path: Path) -> Float[np.ndarray, "point 3"]:
    """X, Y, Z in metres of the points in an npz file's `data`, in file order. Never unpickles.

    Raises DatasetError where `data` is missing, damaged or not floating point of shape (N, 4).
    """
    with _npz_data(path, _bad_sweep) as file:
        data = np.lib.format.read_array(file, allow_pickle=False)
    _check_sweep(path, data.shape, data.dtype)
    return data[:, :3]


def read_depth(path: Path, size_hw: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """Camera z in metres of the pixels in an npz file's `data`, 0 where there is none. Never unpickles.

    DGP says 0 for none; negative and non-finite values become 0 too. Raises DatasetError where `data` is missing,
    damaged or not floating point of the image's size (H, W).
    """
    with _npz_data(path, _bad_depth) as file:
        data = np.lib.format.read_array(file, allow_pickle=False)
    if data.shape != size_hw or data.dtype not in (np.float32, np.float64):
        raise _bad_depth(path, f"`data` is {data.dtype} of shape {data.shape}, its image {size_hw}")
    with np.errstate(over="ignore"):
        depth_m = data.astype(np.float32, copy=False)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(0))


def count_points(path: Path) -> int:
    """The number of points in an npz file's `data`, from the array's header alone.

    Raises DatasetError like `read_points`, for what the header shows.
    """
    with _npz_data(path, _bad_sweep) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    _check_sweep(path, shape, dtype)
    return int(shape[0])


@contextmanager
def _npz_data(path: Path, bad: Callable[[Path, str], DatasetError]) -> Iterator[IO[bytes]]:
    """The array file `data` inside an npz file; what is wrong with it is raised as `bad` says it."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("data.npy") as file:
            yield file
    except _BAD_NPZ as error:
        refuse_pointer(path)
        raise bad(path, _what_is_at(path) or what_it_says(error)) from error


def _what_is_at(path: Path) -> str | None:
    with suppress(OSError), path.open("rb") as file:
        return what_it_is(file.read(64))
    return None


def _decode(data: bytes, path: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            _check_size(path, image.size)
            bits = strict_images.bits_per_channel(image, data)
            if mode == "RGB" and bits > 8:
                raise DatasetError(
                    f"{path}: has more than 8 bits a pixel (mode {image.mode}): {bits} for grey or each colour; "
                    "expected 8: scale it down, as bright as a photo"
                )
            return strict_images.pixels(image, data, mode)
    except _BAD_IMAGE as error:
        unknown = "unknown format" if isinstance(error, UnidentifiedImageError) else None
        found = what_it_is(data) or unknown or what_it_says(error)
        raise DatasetError(f"{path}: does not decode ({found}); expected an undamaged JPEG or PNG; {REMEDY}") from error


def what_it_is(data: bytes) -> str | None:
    """What a file is that is not what its name says, from its beginning; None where that cannot be told."""
    start = data[:64].lstrip().lower()
    if not data:
        return "it is empty"
    if is_pointer(data):
        return f"it {POINTER}"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, as a refused download leaves it"
    return None if any(data) else "it holds zeros alone"


def _check_size(path: Path, size_wh: tuple[int, int]) -> None:
    if max(size_wh) > MAX_SIDE_PX:
        width, height = size_wh
        raise DatasetError(f"{path}: is {width}×{height} pixels; expected at most {MAX_SIDE_PX} a side; {REMEDY}")


def _check_sweep(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 2 or shape[1] != 4 or dtype not in (np.float32, np.float64):
        raise _bad_sweep(path, f"`data` is {dtype} of shape {shape}")


def _bad_sweep(path: Path, found: str) -> DatasetError:
    return DatasetError(
        f"{path}: is not a LiDAR sweep ({found}); expected an npz whose `data` is float32 or float64 "
        f"of shape (N, 4): X, Y, Z, intensity; {REMEDY}"
    )


def _bad_depth(path: Path, found: str) -> DatasetError:
    return DatasetError(
        f"{path}: is not a depth map ({found}); expected an npz whose `data` is float32 or float64 "
        f"of the image's shape (H, W): camera z in metres; {REMEDY}"
    )


def what_it_says(error: BaseException) -> str:
    """What an error says, for a message of one line; its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
