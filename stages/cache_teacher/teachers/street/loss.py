"""What the street teacher learns from: relative error of disparity, whatever its scale and shift.

The alignment is MiDaS's least squares (Ranftl et al., TPAMI 2022, eq. 4-6) with weights that make the residuals
relative, so that a metre counts at 100 m what a centimetre counts at 1 m. The rest of the formulas is our choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import relu

FARTHEST_M = 250.0
"""Depths beyond it count as it; the sky is right at any disparity below its inverse."""
NEAREST_M = 0.1
LOWEST_RATIO = 0.1
"""Below it the logarithm of aligned to true disparity goes on as a straight line, so that it is never infinite."""

LOWEST_CORRELATION = 0.25
"""A prediction that resembles the truth less is stretched as if it did not, so that it learns which way is near."""
SMALLEST_VARIANCE = 1e-12

GRADIENT_WEIGHT = 0.25
SKY_WEIGHT = 0.1
CORRELATION_WEIGHT = 0.1
GRADIENT_STRIDES = (1, 2, 4, 8)


@dataclass(frozen=True)
class LossTerms:
    """The loss of a batch and its parts, means over its images, without their weights."""

    total: Float[Tensor, ""]
    log_error: Float[Tensor, ""]
    """Mean |ln(aligned) − ln(true)| over the pixels with a depth."""
    gradient: Float[Tensor, ""]
    """Mean difference between the log errors of neighbouring pixels, at several distances."""
    sky: Float[Tensor, ""]
    """Mean ln(FARTHEST_M · aligned) over the sky, where it is nearer than that."""
    correlation: Float[Tensor, ""]
    """1 − correlation of predicted and true disparity: what turns a prediction around that is upside down."""


def street_loss(predicted: Float[Tensor, "B H W"], depth_m: Float[Tensor, "B H W"]) -> LossTerms:
    """Loss of disparities known up to a positive scale and a shift; zero where they are right.

    `depth_m` is camera z, inf at the sky, NaN where nothing is known (the own car).
    """
    known, sky = torch.isfinite(depth_m), torch.isposinf(depth_m)
    depth_m = torch.where(known, depth_m, FARTHEST_M).clamp(NEAREST_M, FARTHEST_M)
    truth, weight = 1 / depth_m, torch.where(known, depth_m.square(), 0)
    scale, shift, correlation = fit_affine(
        predicted.flatten(1), truth.flatten(1), weight.flatten(1), LOWEST_CORRELATION
    )
    aligned = scale[:, None, None] * predicted + shift[:, None, None]

    log_ratio = _log(aligned * depth_m)  # B, H, W
    log_error = _mean_of_images(log_ratio.abs(), known)
    too_near = torch.log(relu(aligned * FARTHEST_M - 1) + 1)
    gradient = torch.stack([_gradient(log_ratio, known, stride) for stride in GRADIENT_STRIDES]).mean()
    in_the_sky = _mean_of_images(too_near, sky)
    upside_down = torch.where(known.any(dim=(1, 2)), 1 - correlation, 0).mean()
    total = log_error + GRADIENT_WEIGHT * gradient + SKY_WEIGHT * in_the_sky + CORRELATION_WEIGHT * upside_down
    return LossTerms(total, log_error, gradient, in_the_sky, upside_down)


def fit_affine(
    x: Float[Tensor, "B N"],
    y: Float[Tensor, "B N"],
    weight: Float[Tensor, "B N"],
    lowest_correlation: float = -1.0,
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"], Float[Tensor, "B"]]:
    """Least-squares (a, b) of a·x + b ≈ y with squared residuals weighted, and the correlation of x and y.

    The slope is that of a correlation of at least `lowest_correlation`. Where all weights are zero, or x is
    constant, it is 0.
    """
    weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    mean_x, mean_y = (weight * x).sum(dim=1, keepdim=True), (weight * y).sum(dim=1, keepdim=True)
    from_x, from_y = x - mean_x, y - mean_y
    deviation_x, deviation_y = (
        (weight * each.square()).sum(dim=1).clamp(min=SMALLEST_VARIANCE).sqrt() for each in (from_x, from_y)
    )
    correlation = (weight * from_x * from_y).sum(dim=1) / (deviation_x * deviation_y)
    a = correlation.clamp(min=lowest_correlation) * deviation_y / deviation_x
    return a, (mean_y - a[:, None] * mean_x).squeeze(1), correlation


def _log(ratio: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    straight = math.log(LOWEST_RATIO) + (ratio - LOWEST_RATIO) / LOWEST_RATIO
    return torch.where(ratio > LOWEST_RATIO, ratio.clamp(min=LOWEST_RATIO).log(), straight)


def _gradient(error: Float[Tensor, "B H W"], known: Bool[Tensor, "B H W"], stride: int) -> Float[Tensor, ""]:
    """Mean absolute difference of neighbours, among every `stride`-th pixel, across and down (MiDaS, eq. 11)."""
    error, known = error[:, ::stride, ::stride], known[:, ::stride, ::stride]
    across = _mean_of_images((error[:, :, 1:] - error[:, :, :-1]).abs(), known[:, :, 1:] & known[:, :, :-1])
    down = _mean_of_images((error[:, 1:] - error[:, :-1]).abs(), known[:, 1:] & known[:, :-1])
    return across + down


def _mean_of_images(values: Float[Tensor, "B H W"], mask: Bool[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Mean over the images of the mean where the mask holds; 0 for an image where it holds nowhere."""
    total = torch.where(mask, values, 0).sum(dim=(1, 2))
    return (total / mask.sum(dim=(1, 2)).clamp(min=1)).mean()
