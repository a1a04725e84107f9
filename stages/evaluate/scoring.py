"""From comparisons of one rig at a time to scores per camera. Of each image only its metrics are kept."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int64

from stages.evaluate.alignment import median_scale
from stages.evaluate.metrics import CONSISTENCY, METRICS, consistency_metrics, depth_metrics
from stages.evaluate.overlap import Overlap
from stages.evaluate.prediction import Alignment, Comparison, ViewPair
from stages.evaluate.protocol import Protocol, Scaling, TruthName
from stages.evaluate.regions import regions_of
from stages.evaluate.result import CrossViewScores, Score, SubjectScores
from stages.evaluate.truth import Truth

Metrics = Callable[[Float[np.ndarray, "point"], Float[np.ndarray, "point"]], dict[str, float]]


class Images:
    """What `metrics` makes of two arrays of one image, image by image."""

    def __init__(self, metrics: Metrics, names: Sequence[str]) -> None:
        self._metrics = metrics
        self._names = tuple(names)
        self._values = array("d")
        self._points = array("q")
        self._clamped = 0

    def add(self, first_m: Float[np.ndarray, "point"], second_m: Float[np.ndarray, "point"], clamped: int = 0) -> None:
        """Count one image, of which so many predictions were clamped."""
        found = self._metrics(first_m, second_m) if len(first_m) else dict.fromkeys(self._names, np.nan)
        self._values.extend(found[name] for name in self._names)
        self._points.append(len(first_m))
        self._clamped += clamped

    def values(self) -> Float[np.ndarray, "image metric"]:
        """The metrics of every image so far; NaN for one without points."""
        return np.array(self._values, np.float64).reshape(-1, len(self._names))

    def points(self) -> Int64[np.ndarray, "image"]:
        """The points of every image so far."""
        return np.array(self._points, np.int64)

    def score(self) -> Score:
        """Mean over the images so far."""
        points = self.points()
        seen = self.values()[points > 0]
        means = seen.mean(axis=0).tolist() if len(seen) else [None] * len(self._names)
        return Score(
            metrics=dict(zip(self._names, means, strict=True)),
            images=len(seen),
            points=int(points.sum()),
            images_without_points=int((points == 0).sum()),
            clamped=self._clamped,
        )


@dataclass(frozen=True)
class _Counted:
    """Everything that is counted under one scaling."""

    cameras: dict[str, Images]
    overlap: dict[str, Images]
    consistency: dict[str, Images]
    regions: dict[str, dict[str, Images]] = field(default_factory=dict)
    """By region, then by camera; of what is unscaled."""


class Scorer:
    """Scores one subject against one truth, under every scaling of a protocol."""

    def __init__(
        self,
        subject: str,
        alignment: Alignment,
        cameras: Sequence[str],
        protocol: Protocol,
        *,
        truth: TruthName = "lidar",
        pairs: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._subject, self._alignment, self._truth = subject, alignment, truth
        self._clamp_m = protocol.clamp_m
        self._counted: dict[Scaling, _Counted] = {
            scaling: _Counted(
                cameras={camera: Images(depth_metrics, METRICS) for camera in cameras},
                overlap={camera: Images(depth_metrics, METRICS) for camera in cameras} if pairs else {},
                consistency={f"{cameras[i]}-{cameras[j]}": Images(consistency_metrics, CONSISTENCY) for i, j in pairs},
                regions={
                    name: {camera: Images(depth_metrics, METRICS) for camera in cameras}
                    for name in (regions_of(protocol) if scaling == "none" else ())
                },
            )
            for scaling in protocol.scalings
        }

    def add(self, compared: Comparison, truth: Truth) -> None:
        """Count the images of one rig."""
        overlapping = [
            _overlapping(view, len(pair.truth_m), truth.overlaps) for view, pair in enumerate(compared.views)
        ]
        for scaling, counted in self._counted.items():
            factors = _factors(compared.views, scaling)
            predicted = [
                self._metric(pair.predicted_m, factor) for pair, factor in zip(compared.views, factors, strict=True)
            ]
            for images, pair, depth_m, factor in zip(
                counted.cameras.values(), compared.views, predicted, factors, strict=True
            ):
                images.add(pair.truth_m, depth_m, clamped=int((depth_m != pair.predicted_m * factor).sum()))
            for region, by_camera in counted.regions.items():
                for images, pair, depth_m, members in zip(
                    by_camera.values(), compared.views, predicted, truth.regions[region], strict=True
                ):
                    chosen = members if len(pair.truth_m) else slice(0)
                    images.add(pair.truth_m[chosen], depth_m[chosen])
            for view, images in enumerate(counted.overlap.values()):
                shared = overlapping[view]
                images.add(compared.views[view].truth_m[shared], predicted[view][shared])
            for position, images in enumerate(counted.consistency.values()):
                images.add(*self._distances(position, compared, truth, predicted, factors))

    def scores(self) -> list[SubjectScores]:
        """One entry per scaling."""
        return [self._subject_scores(scaling) for scaling in self._counted]

    def cross_view_scores(self) -> list[CrossViewScores]:
        """One entry per scaling; none where no cameras are adjacent."""
        return [self._cross_view_scores(scaling) for scaling, counted in self._counted.items() if counted.consistency]

    def rig_scores(self) -> dict[str, Float[np.ndarray, "rig place metric"]]:
        """Unscaled metrics of every rig, by names as in `RigScores`."""
        return {name: _by_rig([each.values() for each in images.values()]) for name, images in self._unscaled().items()}

    def rig_points(self) -> dict[str, Int64[np.ndarray, "rig place"]]:
        """And how many points they are of."""
        return {name: _by_rig([each.points() for each in images.values()]) for name, images in self._unscaled().items()}

    def _unscaled(self) -> dict[str, Mapping[str, Images]]:
        counted, name = self._counted["none"], f"{self._subject}/{self._truth}"
        found: dict[str, Mapping[str, Images]] = {name: counted.cameras}
        if counted.consistency:
            found |= {f"{name}.overlap": counted.overlap, f"{name}.consistency": counted.consistency}
        return found | {f"{name}.{region}": images for region, images in counted.regions.items()}

    def _metric(self, predicted_m: Float[np.ndarray, "point"], factor: float) -> Float[np.ndarray, "point"]:
        """A prediction after scaling, clamped."""
        return np.clip(predicted_m * factor, *self._clamp_m)

    def _distances(
        self,
        position: int,
        compared: Comparison,
        truth: Truth,
        predicted: Sequence[Float[np.ndarray, "_"]],
        factors: Sequence[float],
    ) -> tuple[Float[np.ndarray, "common"], Float[np.ndarray, "common"]]:
        """What the two cameras of a pair predict for the distances of their common points from the rig's origin."""
        neighbours = compared.neighbours_m[position]
        if neighbours is None:
            return np.zeros(0), np.zeros(0)
        own: list[np.ndarray] = []
        other: list[np.ndarray] = []
        for overlap, neighbour_m in zip(truth.overlaps[position], neighbours, strict=True):
            first_m = predicted[overlap.first][overlap.common]
            second_m = self._metric(neighbour_m, factors[overlap.second])
            distances = overlap.distances_m(first_m, second_m)
            own.append(distances[0])
            other.append(distances[1])
        return np.concatenate(own), np.concatenate(other)

    def _subject_scores(self, scaling: Scaling) -> SubjectScores:
        cameras = _scores(self._counted[scaling].cameras)
        return SubjectScores(
            subject=self._subject,
            alignment=self._alignment,
            scaling=scaling,
            truth=self._truth,
            cameras=cameras,
            mean=mean_score(cameras.values(), METRICS),
        )

    def _cross_view_scores(self, scaling: Scaling) -> CrossViewScores:
        overlap, consistency = _scores(self._counted[scaling].overlap), _scores(self._counted[scaling].consistency)
        return CrossViewScores(
            subject=self._subject,
            alignment=self._alignment,
            scaling=scaling,
            truth=self._truth,
            overlap=overlap,
            overlap_mean=mean_score(overlap.values(), METRICS),
            consistency=consistency,
            consistency_mean=mean_score(consistency.values(), CONSISTENCY),
        )


def mean_score(scores: Iterable[Score], names: Sequence[str]) -> Score:
    """Mean of cameras' (or pairs') means; one without any point in range has none and does not count."""
    scores = list(scores)
    seen = [score.metrics for score in scores if score.images]
    return Score(
        metrics={name: float(np.mean([m[name] for m in seen])) if seen else None for name in names},
        images=sum(score.images for score in scores),
        points=sum(score.points for score in scores),
        images_without_points=sum(score.images_without_points for score in scores),
        clamped=sum(score.clamped for score in scores),
    )


def _scores(images: dict[str, Images]) -> dict[str, Score]:
    return {name: each.score() for name, each in images.items()}


def _by_rig(places: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(places, axis=1)


def _overlapping(view: int, points: int, overlaps: Sequence[tuple[Overlap, Overlap]]) -> Bool[np.ndarray, "point"]:
    """Which points of a view lie in a neighbour's image; none where the view has no points to compare."""
    shared = np.zeros(points, bool)
    if points:
        for overlap in (one for both in overlaps for one in both if one.first == view):
            shared[overlap.inside] = True
    return shared


def _factors(pairs: Sequence[ViewPair], scaling: Scaling) -> list[float]:
    if scaling == "median_image":
        return [median_scale(pair.truth_m, pair.predicted_m) if len(pair.truth_m) else 1.0 for pair in pairs]
    if scaling == "median_rig" and any(len(pair.truth_m) for pair in pairs):
        truth = np.concatenate([pair.truth_m for pair in pairs])
        return [median_scale(truth, np.concatenate([pair.predicted_m for pair in pairs]))] * len(pairs)
    return [1.0] * len(pairs)
