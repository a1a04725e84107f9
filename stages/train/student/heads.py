"""The two ways from the decoder's features to metric depth: bins, or a single channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from stages.train.config import DepthScale, StudentConfig
from stages.train.student.bins import BinCentres, BinProbability, expected_depth
from stages.train.student.layers import zero_linear


@dataclass(frozen=True)
class Bins:
    """Log-probabilities over K bins at every pixel, k = 0 the farthest, and the depths of the bins, per view."""

    log_probability: Float32[Tensor, "B V K h w"]
    centres_m: Float32[Tensor, "B V K"]
    combine: DepthScale
    """Scale on which they make depth."""


class BinHead(nn.Module):
    """Depth as the mean of the centres by p: probabilities of every pixel, centres from the coarsest features."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        D = config.decoder_channels
        self.probability = BinProbability(D, config.bins)
        self.centres = BinCentres(D, config)
        self.combine = config.combine

    def forward(
        self, fine: Float[Tensor, "B V D h w"], coarse: Float[Tensor, "B V D _ _"]
    ) -> tuple[Float32[Tensor, "B V h w"], Bins]:
        """Depth in metres, and the bins it comes from."""
        views = fine.shape[:2]
        log_probability = self.probability(fine.flatten(0, 1)).unflatten(0, views)
        centres_m = self.centres(coarse.mean(dim=(-2, -1)))
        depth_m = expected_depth(log_probability.exp(), centres_m, self.combine)
        return depth_m, Bins(log_probability, centres_m, self.combine)


class RegressionHead(nn.Module):
    """Depth from one channel: a sigmoid on log-depth between d_max_m and d_min_m, on which bin centres lie too.

    So a student with bins and one without differ in nothing but the bins; untrained, every depth is in the middle.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.d_max_m = config.d_max_m
        self.log_range = math.log(config.d_max_m / config.d_min_m)
        self.nearness = zero_linear(config.decoder_channels, 1)

    def forward(
        self, fine: Float[Tensor, "B V D h w"], coarse: Float[Tensor, "B V D _ _"]
    ) -> tuple[Float32[Tensor, "B V h w"], None]:
        """Depth in metres, and no bins."""
        nearness = self.nearness(fine.movedim(2, -1)).squeeze(-1).float().sigmoid()
        return self.d_max_m * torch.exp(-nearness * self.log_range), None


def make_head(config: StudentConfig) -> BinHead | RegressionHead:
    """The head that a configuration asks for."""
    return BinHead(config) if config.head == "bins" else RegressionHead(config)
