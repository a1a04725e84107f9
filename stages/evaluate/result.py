"""What stage 3 writes: `metrics.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from stages.evaluate.protocol import Protocol, Scaling, TruthName


class Result(BaseModel):
    """Base of all parts of the result: unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(Result):
    """Metrics of one camera, or the mean over cameras, and what they were computed from."""

    metrics: dict[str, float | None]
    """Mean over images; none where no image had a point in range."""
    images: int
    points: int
    images_without_points: int
    """Images of which no point lies in range; they count in no mean."""


class SubjectScores(Result):
    """One subject (the student, or a teacher of the cache) under one scaling."""

    subject: str
    alignment: str
    """How the prediction became metric: `metric`, or `disparity_least_squares` per image."""
    scaling: Scaling
    truth: TruthName = "lidar"
    """What it was computed against. `disparity_least_squares` is fitted to LiDAR either way."""
    cameras: dict[str, Score]
    mean: Score
    """Mean over cameras; the counts are sums."""


class CrossViewScores(Result):
    """Where neighbouring cameras see the same, for one subject under one scaling."""

    subject: str
    alignment: str
    scaling: Scaling
    truth: TruthName
    overlap: dict[str, Score]
    """By camera: metrics over its points that lie in a neighbour's image too."""
    overlap_mean: Score
    consistency: dict[str, Score]
    """By pair of cameras, `A-B`: `rel` and `rmse` (m) of the two predicted distances from the rig's origin."""
    consistency_mean: Score
    """Mean over pairs; the counts are sums."""


class ConditionScores(Result):
    """One subject, unscaled, over the rigs of all scenes of one condition, such as `night`."""

    condition: str
    subject: str
    truth: TruthName
    rigs: int
    metrics: dict[str, float | None]
    """Mean over cameras, as in `SubjectScores`."""


class Evaluation(Result):
    """The whole of `metrics.json`."""

    schema_version: Literal[1] = 1
    code_version: str
    cache: str
    run: str | None
    """Folder of the run whose student was scored."""
    dataset: str
    dataset_version: str
    split: str
    rigs: int
    protocol: Protocol
    scores: tuple[SubjectScores, ...]
    """Against LiDAR."""
    dense_scores: tuple[SubjectScores, ...] = ()
    """Against dense depth, where the cache has any."""
    cross_view: tuple[CrossViewScores, ...] = ()
    conditions: tuple[ConditionScores, ...] = ()
    """Where the dataset describes its scenes. A scene counts under each of its conditions."""
