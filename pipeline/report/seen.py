"""One rig, what is true of it, and what the subjects of an evaluation make of it: what pictures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32

from cache_schema import Cache, CachedRig, DatasetIdentity
from pipeline.geometry import grid_px
from pipeline.painting import Maps, dots
from stages.evaluate.metrics import relative_difference
from stages.evaluate.prediction import Comparison, Prediction, compare
from stages.evaluate.protocol import Protocol, TruthName
from stages.evaluate.scoring import Scorer
from stages.evaluate.subjects import Subject
from stages.evaluate.truth import Truth, dense_truth, lidar_truth

VIEW_WIDTH = 256
"""Pixels; a rig's six views are shown side by side."""


@dataclass(frozen=True)
class Seen:
    """A rig and its subjects by name, each with its metric prediction; a disparity is fitted by least squares."""

    index: int
    rig: CachedRig
    dataset: DatasetIdentity
    protocol: Protocol
    truths: tuple[Truth, ...]
    """LiDAR, and dense depth where there is any."""
    dense_m: Float32[np.ndarray, "V H W"] | None
    predictions: Mapping[str, Prediction]

    @property
    def title(self) -> str:
        """Which rig."""
        return f"{self.rig.scene} / {self.rig.sample}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a view as it is shown."""
        height, width = self.rig.images.shape[1:3]
        return round(VIEW_WIDTH * height / width), VIEW_WIDTH

    def depth(self, subject: str) -> Maps:
        """A subject's depth at the size shown, in metres, clamped as the protocol does; NaN where it knows nothing."""
        xy_px, prediction = grid_px(self.size, self.dataset.native_size).reshape(-1, 2), self.predictions[subject]
        views = [
            np.clip(prediction.at(view, xy_px), *self.protocol.clamp_m).reshape(self.size)
            if prediction.knows(view)
            else np.full(self.size, np.nan)
            for view in range(len(self.dataset.cameras))
        ]
        return np.stack(views)

    def truth(self, name: TruthName) -> Maps:
        """The truth at the size shown, in metres: LiDAR points as dots, or dense depth at the pixels' centres."""
        if name == "dense":
            return self._dense()
        depth_m = [view.depth_m for view in self.truths[0].views]
        return dots([self._shown(view.xy_px) for view in self.truths[0].views], depth_m, depth_m, self.size)

    def error(self, subject: str, name: TruthName) -> Maps:
        """A subject's relative error at the size shown; NaN where the truth is not known."""
        if name == "dense":
            truth = self._dense()
            return np.asarray(np.abs(self.depth(subject) - truth) / truth)
        lidar = self.truths[0].views
        pairs = self._compared(subject, self.truths[0]).views
        errors = [np.abs(pair.predicted_m - pair.truth_m) / pair.truth_m for pair in pairs]
        xy_px = [view.xy_px[: len(error)] for view, error in zip(lidar, errors, strict=True)]  # none, or all
        return dots([self._shown(xy) for xy in xy_px], errors, [pair.truth_m for pair in pairs], self.size)

    def apart(self, subject: str) -> Maps:
        """Where two cameras see the same, how far apart they put it, in parts of its distance; NaN elsewhere."""
        truth = self.truths[-1]
        compared = self._compared(subject, truth)
        parts: list[list[tuple[np.ndarray, ...]]] = [[_NO_POINTS] for _ in self.dataset.cameras]
        for both, neighbours in zip(truth.overlaps, compared.neighbours_m, strict=True):
            for overlap, neighbour_m in zip(both, neighbours, strict=True) if neighbours else ():
                own_m = compared.views[overlap.first].predicted_m[overlap.common]
                apart = relative_difference(*overlap.distances_m(own_m, self._clamped(neighbour_m)))
                points = truth.views[overlap.first]
                shown = self._shown(points.xy_px[overlap.common])
                parts[overlap.first].append((shown, apart, points.depth_m[overlap.common]))
        xy, values, depth_m = zip(
            *([np.concatenate(a) for a in zip(*view, strict=True)] for view in parts), strict=True
        )
        return dots(xy, values, depth_m, self.size)

    def abs_rel(self, subject: str, name: TruthName) -> float | None:
        """AbsRel of the rig by the protocol."""
        scorer = Scorer(subject, "metric", self.dataset.cameras, self.protocol, truth=name)
        truth = next(truth for truth in self.truths if truth.name == name)
        scorer.add(compare(self.predictions[subject], truth), truth)
        unscaled = next(score for score in scorer.scores() if score.scaling == "none")
        return unscaled.mean.metrics["abs_rel"]

    def _compared(self, subject: str, truth: Truth) -> Comparison:
        """The subject at the points of a truth, clamped."""
        compared = compare(self.predictions[subject], truth)
        views = tuple(replace(pair, predicted_m=self._clamped(pair.predicted_m)) for pair in compared.views)
        return replace(compared, views=views)

    def _clamped(self, depth_m: Float[np.ndarray, "point"]) -> Float[np.ndarray, "point"]:
        return np.asarray(np.clip(depth_m, *self.protocol.clamp_m))

    def _shown(self, xy_px: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "point 2"]:
        return xy_px * np.divide(self.size, self.dataset.native_size)[::-1]

    def _dense(self) -> Maps:
        """The value at the centre of each pixel shown: depths are not to be mixed over an edge."""
        assert self.dense_m is not None
        x, y = grid_px(self.size, self.dataset.native_size).astype(int).transpose(2, 0, 1)
        low, high = self.protocol.range_m
        depth_m = self.dense_m[:, y, x]
        return np.asarray(np.where((depth_m > low) & (depth_m < high), depth_m, np.nan))


_NO_POINTS = (np.zeros((0, 2)), np.zeros(0), np.zeros(0))


def see(cache: Cache, split: str, index: int, subjects: Sequence[Subject], protocol: Protocol) -> Seen:
    """Ask every subject about one rig of a split."""
    frames, dataset = cache.split(split), cache.manifest.dataset
    rig = frames[index]
    truths, dense_m = [lidar_truth(rig, protocol, dataset)], None
    if frames.record.dense_depth:
        dense_m = frames.dense_depth(index)
        truths.append(dense_truth(dense_m, rig, protocol, dataset))
    predictions = {
        subject.name: subject.shown(index, rig, truths[0], dataset.native_size, protocol.clamp_m[1])
        for subject in subjects
    }
    return Seen(index, rig, dataset, protocol, tuple(truths), dense_m, predictions)
