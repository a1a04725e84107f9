"""What a street dataset is made from, beside the number of its town."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

TILE = 8
"""Rays are cast in tiles of 8 × 8, so every picture and sweep is a multiple of it."""

DATASET_TOWNS = range(100_000)
"""Towns of datasets."""
TEACHER_VALIDATION_TOWNS = range(900_000, 910_000)
"""Towns that the street teacher was scored on while it was built; never trained on."""
TEACHER_TRAINING_TOWNS = range(1_000_000, 2**31)
"""Towns that the street teacher learned from."""


class StreetConfig(BaseModel):
    """Cameras, LiDAR and drive; everything else is up to the town."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(default=96, ge=TILE)
    """Of the pictures, in pixels."""
    width: int = Field(default=160, ge=TILE)
    horizontal_fov_deg: float = Field(default=72.0, gt=60.0, lt=120.0)
    """Of each camera; six of them are 60° apart, so neighbours overlap by what exceeds 60°."""
    lidar_beams: int = Field(default=32, ge=TILE, le=128)
    """Between 22° below and 8° above the horizon."""
    lidar_columns: int = Field(default=720, ge=TILE)
    """Measurements of a beam in one turn."""
    lidar_range_m: float = Field(default=120.0, gt=0.0)
    lidar_noise_m: float = Field(default=0.015, ge=0.0)
    """Standard deviation of a measured range."""
    lidar_dropout: float = Field(default=0.08, ge=0.0, lt=1.0)
    """Share of the returns that are lost by chance; dark and far surfaces lose more."""
    rig_interval_s: float = Field(default=0.6, gt=0.0)
    """Time between consecutive rigs."""

    @model_validator(mode="after")
    def _whole_tiles(self) -> StreetConfig:
        for name in ("height", "width", "lidar_beams", "lidar_columns"):
            if getattr(self, name) % TILE:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a multiple of {TILE}")
        return self
