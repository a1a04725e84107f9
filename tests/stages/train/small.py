"""Settings small enough to train in a test."""

from __future__ import annotations

from typing import Any

from stages.train.config import EncoderConfig, LoaderConfig, LossConfig, OptimizerConfig, StudentConfig, TrainConfig

ENCODER = EncoderConfig(embedding_size=8, depths=(1, 1, 1, 1), hidden_sizes=(8, 16, 16, 32))
STUDENT = StudentConfig(encoder=ENCODER, decoder_channels=16, bins=16)
LIDAR_ONLY = LossConfig(ckd=0, view_relation=0)


def small_config(**changes: Any) -> TrainConfig:
    settings = {
        "steps": 4,
        "device": "cpu",
        "student": STUDENT,
        "optimizer": OptimizerConfig(lr=3e-3, warmup_steps=2),
        "loader": LoaderConfig(workers=0),
    }
    return TrainConfig(**(settings | changes))
