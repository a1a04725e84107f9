"""The binning module, shared by all views: probabilities over bins at every pixel, metric bin centres per view.

Bins are ordered like the teacher's: ascending in disparity, so k = 0 is the farthest.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.functional import interpolate, log_softmax

from stages.train.config import DepthScale, StudentConfig
from stages.train.student.layers import zero_linear

NARROWEST_SHARE = 0.05
"""Part of the range that is divided evenly over all gaps. With 64 bins over the log-depths between 1 m and 200 m no
two centres are closer than 0.4 %: float16, whose steps are at most 0.1 %, still tells them apart."""

_ENDS = (-3.0, 0.0, -3.0)
"""Gap before the farthest centre, span of the centres, gap behind the nearest, before training: 5, 90 and 5 %."""


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
    """Metric bin centres of every view from pooled features.

    The range of depth, on one of the `DepthScale`s, is split into gaps that sum to it (a softmax); the borders between
    the gaps are the centres. So they are ordered and inside the range by construction, and a view may leave a wide gap
    at either end. Untrained, they are spread evenly over the scale.

    `view`: each view has K + 1 gaps of its own. `rig`: the views of a rig share them. `shared_shape`: the K - 1 gaps
    between the centres are the same for all images, and a view has the two ends; on disparity, that is a scale and a
    shift, which is what the teacher leaves open.
    """

    def __init__(self, channels: int, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        shared = config.centres_of == "shared_shape"
        last = zero_linear(channels, 3 if shared else config.bins + 1)
        self.gaps = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), last)
        self.shape = nn.Parameter(torch.zeros(config.bins - 1)) if shared else None
        if shared:
            last.bias.data = torch.tensor(_ENDS)

    def forward(self, pooled: Float[Tensor, "B V D"]) -> Float32[Tensor, "B V K"]:
        """Depths in metres, strictly descending along K, between d_min_m and d_max_m."""
        views = pooled.shape[1]
        if self.config.centres_of == "rig":
            pooled = pooled.mean(dim=1, keepdim=True)
        gaps = _shares(self.gaps(pooled))
        if self.shape is None:
            nearness = gaps.cumsum(dim=-1)[..., :-1]  # 0 at d_max, 1 at d_min
        else:
            shape = torch.cat([self.shape.new_zeros(1), _shares(self.shape).cumsum(dim=0)])
            nearness = gaps[..., :1] + gaps[..., 1:2] * shape
        scale = self.config.centres
        near, far = (
            on_scale(torch.tensor(depth), scale).item() for depth in (self.config.d_min_m, self.config.d_max_m)
        )
        return off_scale(far + (near - far) * nearness, scale).expand(-1, views, -1)


def _shares(logits: Tensor) -> Tensor:
    """Positive parts of 1, in float32, none much narrower than the rest could be."""
    shares = logits.float().softmax(dim=-1)
    return (1 - NARROWEST_SHARE) * shares + NARROWEST_SHARE / shares.shape[-1]


def on_scale(depth_m: Float[Tensor, "*shape"], scale: DepthScale) -> Float[Tensor, "*shape"]:
    """Depth in metres, its logarithm, or disparity in 1/m."""
    return {"depth": lambda: depth_m, "log_depth": depth_m.log, "disparity": depth_m.reciprocal}[scale]()


def off_scale(value: Float[Tensor, "*shape"], scale: DepthScale) -> Float[Tensor, "*shape"]:
    """Depth in metres of what `on_scale` gives."""
    return {"depth": lambda: value, "log_depth": value.exp, "disparity": value.reciprocal}[scale]()


def expected_depth(
    probability: Float[Tensor, "B V K h w"], centres_m: Float[Tensor, "B V K"], scale: DepthScale
) -> Float[Tensor, "B V h w"]:
    """The mean of the centres on a scale, as depth in metres: Σ_k p[k] · c[k] for `depth`."""
    with torch.autocast(probability.device.type, enabled=False):  # 16-bit products would lose the centimetres
        return off_scale(torch.einsum("bvkhw,bvk->bvhw", probability, on_scale(centres_m, scale)), scale)


def enlarge(depth_m: Float[Tensor, "B V h w"], size: tuple[int, int]) -> Float[Tensor, "B V H W"]:
    """Depth enlarged bilinearly (half-pixel centres) to `size` = (H, W)."""
    return interpolate(depth_m, size=size, mode="bilinear", align_corners=False)


def metric_depth(
    probability: Float[Tensor, "B V K h w"], centres_m: Float[Tensor, "B V K"], scale: DepthScale, size: tuple[int, int]
) -> Float[Tensor, "B V H W"]:
    """`expected_depth` enlarged to `size` = (H, W)."""
    return enlarge(expected_depth(probability, centres_m, scale), size)
