"""The street teacher: a small depth model of our own for the towns of the embedded world, and how it was trained.

Its weights lie in this folder, written there by `make street-teacher`.
"""

from pathlib import Path

from stages.cache_teacher.teachers.street.model import StreetDepthConfig, StreetDepthForDepthEstimation
from stages.cache_teacher.teachers.street.processor import PROCESSOR_SETTINGS

NAME = "street"
"""What `--teacher` calls it."""
FOLDER = Path(__file__).parent
"""Where its files are."""
COMMAND = "make street-teacher"
"""What writes them."""

__all__ = [
    "COMMAND",
    "FOLDER",
    "NAME",
    "PROCESSOR_SETTINGS",
    "StreetDepthConfig",
    "StreetDepthForDepthEstimation",
]
