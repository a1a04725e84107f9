"""Files that pictures are written into: their kind is told by their name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cache_schema.durable import write_atomic
from cache_schema.errors import ConfigError
from cache_schema.places import require_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
JPEG_QUALITY = 90
_SOFTWARE = 0x0131  # EXIF's tag for the program that wrote a picture
_OURS = "fsmde"


def require_picture(file: Path, option: str) -> None:
    """Raise ConfigError where no picture can be written, the name is that of neither PNG nor JPEG, or it is taken.

    Only pictures that were written here are replaced: an image of the raw data may have such a name.
    """
    require_file(file, option, tuple(FORMATS))
    if file.exists() and not _is_ours(file):
        raise ConfigError(
            f"{option} {file} is there and was not drawn by fsmde; nothing was changed: remove it, or choose another"
            f" {option}"
        )


def write_picture(file: Path, picture: UInt8[np.ndarray, "H W 3"], **how: Any) -> None:
    """Write an RGB picture as its name says; `how` is for Pillow. Raises ConfigError as `require_picture` does."""
    require_picture(file, "picture")
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[_SOFTWARE] = _OURS
    Image.fromarray(picture).save(buffer, FORMATS[file.suffix.lower()], quality=JPEG_QUALITY, exif=exif, **how)
    write_atomic(file, buffer.getvalue())


def _is_ours(file: Path) -> bool:
    try:
        with Image.open(file, formats=tuple(set(FORMATS.values()))) as picture:
            return bool(picture.getexif().get(_SOFTWARE) == _OURS)
    except (OSError, ValueError, SyntaxError):
        return False
