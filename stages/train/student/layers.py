"""Small pieces that the student is built from."""

from __future__ import annotations

from torch import nn


def convolution(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """Convolution that keeps the resolution, normalisation over the batch, rectifier."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose output starts at zero, whatever comes in."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
