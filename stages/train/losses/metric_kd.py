"""A rival: logit distillation in metric depth (after Hinton et al., arXiv 1503.02531), the teacher's scale from LiDAR.

The teacher's disparity of each view is fitted to the view's LiDAR points, by least squares as where stage 3 scores a
teacher. What it then says in metres becomes probabilities over the student's own bin centres. A view without enough
points teaches nothing, nor does a rig without LiDAR. The abstract of arXiv 2512.08700 does not name this rival; how it
is made is our choice.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from stages.train.losses.ckd import bin_divergence
from stages.train.losses.masked_mean import masked_mean
from stages.train.losses.pseudo_label import NARROWEST
from stages.train.student.bins import enlarge

FEWEST_POINTS = 16
"""A view with fewer usable LiDAR points is left out: scale and shift of a handful of points say nothing of the rest."""

SIGMA_GAPS = 1.5
"""σ of a target, in mean gaps between the logarithms of a view's centres: as wide as a certain target of stage 1."""


def metric_divergence(
    log_student: Float[Tensor, "B V K h w"],
    centres_m: Float[Tensor, "B V K"],
    disparity: Float[Tensor, "B V h w"],
    mask: Bool[Tensor, "B V h w"],
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
) -> Float[Tensor, ""]:
    """KL(p‖p_S) in nats, averaged over the cells where `mask` holds in views that could be fitted; 0 without any.

    `log_student` are log-probabilities over `centres_m` (metres, descending), which the loss does not teach;
    `disparity` is the teacher's, up to scale and shift; `truth_m` are LiDAR depths in metres where `truth_mask` holds.
    """
    with torch.no_grad():
        scale, shift, fitted = fit_disparity(disparity, mask, truth_m, truth_mask)
        target = normal_bins(scale * disparity + shift, centres_m)
    return bin_divergence(log_student, target, mask & fitted)


def fit_disparity(
    disparity: Float[Tensor, "B V h w"],
    mask: Bool[Tensor, "B V h w"],
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
) -> tuple[Float[Tensor, "B V 1 1"], Float[Tensor, "B V 1 1"], Bool[Tensor, "B V 1 1"]]:
    """Least-squares (a, b) of a·d + b ≈ 1/truth in each view, 1/m, and where that can be relied on.

    At the LiDAR points in cells where `mask` holds, with d bilinear between cells. A view is not fitted where it has
    fewer than `FEWEST_POINTS`, or all at one disparity, or where near and far came out swapped (a ≤ 0).
    """
    size = (truth_m.shape[-2], truth_m.shape[-1])
    points = truth_mask & (interpolate(mask.to(disparity.dtype), size, mode="nearest-exact") > 0)
    d, inverse = enlarge(disparity, size), truth_m.masked_fill(~points, 1).reciprocal()

    def mean(x: Tensor) -> Tensor:
        return masked_mean(x, points, dim=(2, 3))

    centred = d - mean(d)
    variance = mean(centred.square())
    scale = mean(centred * inverse) / variance.clamp(min=NARROWEST**2)
    enough = points.sum(dim=(2, 3), keepdim=True) >= FEWEST_POINTS
    fitted = enough & (variance > NARROWEST**2) & (scale > 0)
    return scale, mean(inverse) - scale * mean(d), fitted


def normal_bins(disparity: Float[Tensor, "B V h w"], centres_m: Float[Tensor, "B V K"]) -> Float[Tensor, "B V K h w"]:
    """softmax_k(−(ln z − ln c_k)²/2σ²) of depths z = 1/disparity (1/m), at or beyond a view's end centres these."""
    log_centres = centres_m.log()
    far, near = log_centres[..., :1, None], log_centres[..., -1:, None]
    log_depth = -torch.maximum(torch.minimum(disparity, (-near).exp()), (-far).exp()).log()
    sigma = SIGMA_GAPS * (far - near) / (centres_m.shape[-1] - 1)
    away = (log_depth[:, :, None] - log_centres[..., None, None]) / sigma[:, :, None]
    return (-0.5 * away.square()).softmax(dim=2)
