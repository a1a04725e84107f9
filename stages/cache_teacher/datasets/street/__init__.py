"""The embedded world: towns made by formulas, seen by a car with six cameras and a LiDAR."""

from stages.cache_teacher.datasets.street.config import (
    DATASET_TOWNS,
    TEACHER_TRAINING_TOWNS,
    TEACHER_VALIDATION_TOWNS,
    StreetConfig,
)
from stages.cache_teacher.datasets.street.drive import CAMERAS, StreetRig, drive

__all__ = [
    "CAMERAS",
    "DATASET_TOWNS",
    "TEACHER_TRAINING_TOWNS",
    "TEACHER_VALIDATION_TOWNS",
    "StreetConfig",
    "StreetRig",
    "drive",
]
