"""Files that pictures are written into: their kind is told by their name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cache_schema.durable import write_atomic
from cache_schema.places import require_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
JPEG_QUALITY = 90


def require_picture(file: Path, option: str) -> None:
    """Raise ConfigError where no picture can be written there, or the name is not that of a PNG or JPEG file."""
    require_file(file, option, tuple(FORMATS))


def write_picture(file: Path, picture: UInt8[np.ndarray, "H W 3"], **how: Any) -> None:
    """Write an RGB picture as its name says; `how` is for Pillow. Raises ConfigError as `require_picture` does."""
    require_picture(file, "picture")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, FORMATS[file.suffix.lower()], quality=JPEG_QUALITY, **how)
    write_atomic(file, buffer.getvalue())
