"""The binning module, shared by all views: probabilities over bins at every pixel, metric bin centres per view.

Bins are ordered like the teacher's: ascending in disparity, so k = 0 is the farthest.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.functional import interpolate, log_softmax

from stages.train.student.layers import zero_linear

NARROWEST_SHARE = 0.05
"""Part of the log-depth range that is divided evenly over all gaps. With 64 bins between 1 m and 200 m no two
centres are closer than 0.4 %: float16, whose steps are at most 0.1 %, still tells them apart."""


class BinProbability(nn.Module):
    """Logits over K bins at every pixel; starts with every bin equally probable."""

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.logits = zero_linear(channels, bins)

    def forward(self, features: Float[Tensor, "N D h w"]) -> Float32[Tensor, "N K h w"]:
        """Log-probabilities, normalised in float32."""
        logits = self.logits(features.movedim(1, -1)).movedim(-1, 1)
        return log_softmax(logits.float(), dim=1)


class BinCentres(nn.Module):
    """Metric bin centres of a view from its pooled features.

    The range of log-depth is split into K + 1 gaps that sum to it (a softmax); the K borders between the gaps
    are the centres. So they are ordered and inside the range by construction, and a view may leave a wide gap
    at either end. In log-depth because L_gt weighs relative errors: untrained centres are log-uniform.
    """

    def __init__(self, channels: int, bins: int, d_min_m: float, d_max_m: float) -> None:
        super().__init__()
        self.d_max_m = d_max_m
        self.log_range = math.log(d_max_m / d_min_m)
        self.gaps = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), zero_linear(channels, bins + 1))

    def forward(self, pooled: Float[Tensor, "N D"]) -> Float32[Tensor, "N K"]:
        """Depths in metres, strictly descending along K, between d_min_m and d_max_m."""
        gaps = self.gaps(pooled).float().softmax(dim=-1)
        gaps = (1 - NARROWEST_SHARE) * gaps + NARROWEST_SHARE / gaps.shape[-1]
        nearness = gaps.cumsum(dim=-1)[:, :-1]  # 0 at d_max, 1 at d_min
        return self.d_max_m * torch.exp(-nearness * self.log_range)


def expected_depth(
    probability: Float[Tensor, "B V K h w"], centres_m: Float[Tensor, "B V K"]
) -> Float[Tensor, "B V h w"]:
    """Depth Σ_k p[k] · c[k] in metres."""
    with torch.autocast(probability.device.type, enabled=False):  # 16-bit products would lose the centimetres
        return torch.einsum("bvkhw,bvk->bvhw", probability, centres_m)


def enlarge(depth_m: Float[Tensor, "B V h w"], size: tuple[int, int]) -> Float[Tensor, "B V H W"]:
    """Depth enlarged bilinearly (half-pixel centres) to `size` = (H, W)."""
    return interpolate(depth_m, size=size, mode="bilinear", align_corners=False)


def metric_depth(
    probability: Float[Tensor, "B V K h w"], centres_m: Float[Tensor, "B V K"], size: tuple[int, int]
) -> Float[Tensor, "B V H W"]:
    """Depth Σ_k p[k] · c[k] in metres, enlarged to `size` = (H, W)."""
    return enlarge(expected_depth(probability, centres_m), size)
