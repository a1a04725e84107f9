"""How good the street teacher is, in towns that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from cache_schema.manifest import Record
from stages.cache_teacher.datasets.street import CAMERAS, TEACHER_VALIDATION_TOWNS
from stages.cache_teacher.teachers.base import PointPrediction
from stages.cache_teacher.teachers.hub_teacher import load_teacher
from stages.cache_teacher.teachers.street.loss import fit_affine
from stages.cache_teacher.teachers.street.towns import Render, render_town

RANGE_M = (0.1, 200.0)
"""Depths that count; those of the project's evaluation."""


class Scores(Record):
    """Means over images of two of the field's metrics; each image's disparity is fitted to the truth first."""

    abs_rel: float
    """mean |g − p| / g"""
    delta_1: float
    """Share of pixels with max(g/p, p/g) < 1.25."""


class Evaluation(Record):
    """What an evaluation found, and on what."""

    towns: int
    images: int
    height: int
    width: int
    teacher: Scores
    mirrored_too: Scores
    """The mean of the plain and the mirrored view, which a cache is made from."""
    picture_free: Scores
    """What comes of no look at the image: the mean disparity of these towns at each pixel of each camera."""


def evaluate(
    folder: Path, *, towns: int, rigs: int, height: int, width: int, render: Render = render_town, device: str = "cpu"
) -> Evaluation:
    """Score the teacher in a folder on the first validation towns, as stage 1 runs it."""
    teacher = load_teacher(str(folder), device=device)
    found: list[tuple[Scores, Scores]] = []
    truth: list[Float[np.ndarray, "V H W"]] = []
    for images, depth_m in _rigs(towns, rigs, height, width, render):
        plain, mirrored = (_disparity(each, (height, width)) for each in teacher(list(images)).predictions)
        both = standardized(plain) + standardized(mirrored)
        found += [
            (score(one, depth), score(two, depth))
            for one, two, depth in zip(plain, both, torch.from_numpy(depth_m), strict=True)
            if _counted(depth).any()
        ]
        truth.append(depth_m)
    return Evaluation(
        towns=towns,
        images=len(found),
        height=height,
        width=width,
        teacher=mean_scores([plain for plain, _ in found]),
        mirrored_too=mean_scores([both for _, both in found]),
        picture_free=_picture_free(torch.from_numpy(np.stack(truth))),
    )


def score(disparity: Float[Tensor, "H W"], depth_m: Float[Tensor, "H W"]) -> Scores:
    """Score one image: fit scale and shift to the inverse of the true depth by least squares, then compare depths.

    The same fit, range and clamping as in the project's evaluation, at every pixel instead of LiDAR points.
    """
    counted = _counted(depth_m)
    x, truth_m = disparity[counted].double(), depth_m[counted].double()
    scale, shift, _ = fit_affine(x[None], 1 / truth_m[None], torch.ones_like(x)[None])
    predicted_m = (1 / (scale * x + shift).clamp(min=1 / RANGE_M[1])).clamp(*RANGE_M)
    ratio = torch.maximum(truth_m / predicted_m, predicted_m / truth_m)
    return Scores(
        abs_rel=((truth_m - predicted_m).abs() / truth_m).mean().item(),
        delta_1=(ratio < 1.25).double().mean().item(),
    )


def mean_scores(scores: list[Scores]) -> Scores:
    """Mean over images."""
    return Scores(
        abs_rel=float(np.mean([each.abs_rel for each in scores])),
        delta_1=float(np.mean([each.delta_1 for each in scores])),
    )


def standardized(disparity: Float[Tensor, "V h w"]) -> Float[Tensor, "V h w"]:
    """Each image with mean 0 and deviation 1, so that two of unknown scale and shift can be added."""
    flat = disparity.flatten(1)
    mean, deviation = flat.mean(dim=1), flat.std(dim=1).clamp(min=torch.finfo(flat.dtype).tiny)
    return (disparity - mean[:, None, None]) / deviation[:, None, None]


def _rigs(
    towns: int, rigs: int, height: int, width: int, render: Render
) -> Iterator[tuple[UInt8[np.ndarray, "V H W 3"], Float[np.ndarray, "V H W"]]]:
    for town in TEACHER_VALIDATION_TOWNS[:towns]:
        images, depth_m = render(town, rigs, height, width)
        for first in range(0, len(images), len(CAMERAS)):
            yield images[first : first + len(CAMERAS)], depth_m[first : first + len(CAMERAS)]


def _disparity(prediction: object, size_hw: tuple[int, int]) -> Float[Tensor, "V H W"]:
    assert isinstance(prediction, PointPrediction)
    return interpolate(prediction.disparity[:, None].cpu(), size_hw, mode="bilinear", align_corners=False).squeeze(1)


def _picture_free(depth_m: Float[Tensor, "R V H W"]) -> Scores:
    counted = _counted(depth_m)
    disparity = torch.where(counted, 1 / depth_m, 0).sum(dim=0) / counted.sum(dim=0).clamp(min=1)  # V, H, W
    return mean_scores(
        [score(disparity[view], rig[view]) for rig in depth_m for view in range(len(rig)) if _counted(rig[view]).any()]
    )


def _counted(depth_m: Float[Tensor, "*shape"]) -> Tensor:
    return (depth_m > RANGE_M[0]) & (depth_m < RANGE_M[1])  # false for NaN and infinity
