"""From predictions of one rig at a time to scores per camera; memory does not grow with the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from cache_schema import CachedRig, LidarView
from stages.evaluate.alignment import depth_from_disparity, fit_disparity, median_scale
from stages.evaluate.metrics import METRICS, depth_metrics
from stages.evaluate.protocol import Protocol, Scaling
from stages.evaluate.result import Score, SubjectScores
from stages.evaluate.sampling import at_native_pixels


@dataclass(frozen=True)
class ViewPair:
    """Truth and prediction at the LiDAR points of one image that count, in metres."""

    truth_m: Float[np.ndarray, "point"]
    predicted_m: Float[np.ndarray, "point"]


@dataclass
class CameraSums:
    """Running sums of one camera's metrics."""

    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(METRICS, 0.0))
    images: int = 0
    points: int = 0
    images_without_points: int = 0

    def add(self, pair: ViewPair) -> None:
        """Count one image."""
        if not len(pair.truth_m):
            self.images_without_points += 1
            return
        for name, value in depth_metrics(pair.truth_m, pair.predicted_m).items():
            self.sums[name] += value
        self.images += 1
        self.points += len(pair.truth_m)

    def score(self) -> Score:
        """Mean over the images so far."""
        return Score(
            metrics={name: total / self.images if self.images else None for name, total in self.sums.items()},
            images=self.images,
            points=self.points,
            images_without_points=self.images_without_points,
        )


class Scorer:
    """Scores one subject under every scaling of a protocol."""

    def __init__(self, subject: str, alignment: str, cameras: Sequence[str], protocol: Protocol) -> None:
        self._subject = subject
        self._alignment = alignment
        self._protocol = protocol
        self._sums: dict[Scaling, dict[str, CameraSums]] = {
            scaling: {camera: CameraSums() for camera in cameras} for scaling in protocol.scalings
        }

    def add(self, pairs: Sequence[ViewPair]) -> None:
        """Count the images of one rig, in ring order."""
        for scaling, cameras in self._sums.items():
            for sums, pair in zip(cameras.values(), _scaled(pairs, scaling, self._protocol.range_m), strict=True):
                sums.add(pair)

    def scores(self) -> list[SubjectScores]:
        """One entry per scaling."""
        return [self._subject_scores(scaling) for scaling in self._sums]

    def _subject_scores(self, scaling: Scaling) -> SubjectScores:
        cameras = {camera: sums.score() for camera, sums in self._sums[scaling].items()}
        return SubjectScores(
            subject=self._subject,
            alignment=self._alignment,
            scaling=scaling,
            cameras=cameras,
            mean=mean_score(list(cameras.values())),
        )


def mean_score(scores: Sequence[Score]) -> Score:
    """Mean of cameras' means; a camera without any point in range has none and does not count."""
    seen = [score.metrics for score in scores if score.images]
    return Score(
        metrics={name: float(np.mean([m[name] for m in seen])) if seen else None for name in METRICS},
        images=sum(score.images for score in scores),
        points=sum(score.points for score in scores),
        images_without_points=sum(score.images_without_points for score in scores),
    )


def metric_pairs(
    depth_m: Float[np.ndarray, "V h w"], rig: CachedRig, protocol: Protocol, native_size: tuple[int, int]
) -> list[ViewPair]:
    """Truth and prediction at the points that count, per view; the prediction is as it came, not yet clamped."""
    pairs = []
    for view, lidar in enumerate(rig.lidar):
        counted = counted_points(lidar, rig.ego_mask[view], protocol, native_size)
        predicted = at_native_pixels(depth_m[view], lidar.uv_px[counted], native_size)
        pairs.append(ViewPair(lidar.depth_m[counted], predicted))
    return pairs


def disparity_pairs(
    u: Float[np.ndarray, "V h w"], rig: CachedRig, protocol: Protocol, native_size: tuple[int, int]
) -> list[ViewPair]:
    """Truth and prediction per view of a relative disparity, brought to metres by least squares per image."""
    return [_fitted(pair, protocol.range_m[1]) for pair in metric_pairs(u, rig, protocol, native_size)]


def _fitted(pair: ViewPair, max_depth_m: float) -> ViewPair:
    """A pair whose prediction is a relative disparity, brought to metres."""
    if not len(pair.truth_m):
        return pair
    a, b = fit_disparity(pair.predicted_m, pair.truth_m)
    return ViewPair(pair.truth_m, depth_from_disparity(a * pair.predicted_m + b, max_depth_m))


def counted_points(
    lidar: LidarView, ego_mask: Bool[np.ndarray, "H W"], protocol: Protocol, native_size: tuple[int, int]
) -> Bool[np.ndarray, "point"]:
    """Which LiDAR points of a view the protocol counts."""
    low, high = protocol.range_m
    counted = (lidar.depth_m > low) & (lidar.depth_m < high)
    if protocol.ego_mask:
        u, v = lidar.uv_px.astype(np.int64).T
        h, w = ego_mask.shape
        counted &= ego_mask[v * h // native_size[0], u * w // native_size[1]]
    return counted


def _scaled(pairs: Sequence[ViewPair], scaling: Scaling, range_m: tuple[float, float]) -> list[ViewPair]:
    """Pairs after median scaling, the prediction clamped to the range."""
    factors = _factors(pairs, scaling)
    return [
        ViewPair(pair.truth_m, np.clip(pair.predicted_m * factor, *range_m))
        for pair, factor in zip(pairs, factors, strict=True)
    ]


def _factors(pairs: Sequence[ViewPair], scaling: Scaling) -> list[float]:
    if scaling == "median_image":
        return [median_scale(pair.truth_m, pair.predicted_m) if len(pair.truth_m) else 1.0 for pair in pairs]
    if scaling == "median_rig" and any(len(pair.truth_m) for pair in pairs):
        truth = np.concatenate([pair.truth_m for pair in pairs])
        return [median_scale(truth, np.concatenate([pair.predicted_m for pair in pairs]))] * len(pairs)
    return [1.0] * len(pairs)
