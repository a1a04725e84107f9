"""Settings small enough to train in a test."""

from __future__ import annotations

from typing import Any

from stages.train.config import (
    AugmentConfig,
    ColourConfig,
    CropConfig,
    EncoderConfig,
    LoaderConfig,
    LossConfig,
    OptimizerConfig,
    StudentConfig,
    TrainConfig,
)

ENCODER = EncoderConfig(embedding_size=8, depths=(1, 1, 1, 1), hidden_sizes=(8, 16, 16, 32))
STUDENT = StudentConfig(encoder=ENCODER, decoder_channels=16, bins=16)
EVERY_AUGMENTATION = AugmentConfig(
    mirror=0.5,
    colour=ColourConfig(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, gamma=0.2),
    crop=CropConfig(probability=0.5),
    camera_dropout=0.2,
)
LIDAR_ONLY = LossConfig(ckd=0, view_relation=0)
LEARNABLE = LossConfig(ckd=0.1, view_relation=0.5)
"""The tiny caches' relations are random numbers, from which nothing is learned."""


def small_config(**changes: Any) -> TrainConfig:
    settings = {
        "steps": 4,
        "device": "cpu",
        "student": STUDENT,
        "optimizer": OptimizerConfig(lr=3e-3, warmup_steps=2),
        "loader": LoaderConfig(workers=0),
    }
    return TrainConfig(**(settings | changes))
