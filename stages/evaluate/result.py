"""What stage 3 writes: `metrics.json`, one for each protocol. docs/evaluation.md has it key by key."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from stages.evaluate.prediction import Alignment
from stages.evaluate.protocol import Protocol, Scaling, TruthName
from stages.train.metric_teacher import MetricTeacherRecord

Kind = Literal["depth", "place", "condition", "scene"]


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
    clamped: int = 0
    """Points whose prediction lay outside of what the protocol clamps to."""


class SubjectScores(Result):
    """One subject (the student, or a teacher of the cache) under one scaling."""

    subject: str
    alignment: Alignment
    """How the prediction became metric."""
    scaling: Scaling
    truth: TruthName = "lidar"
    """What it was computed against. A disparity is fitted to LiDAR either way."""
    cameras: dict[str, Score]
    mean: Score
    """Mean over cameras; the counts are sums."""
    intervals: dict[str, tuple[float, float]] = {}
    """95 % intervals of the unscaled means, by metric, over what scenes and rigs might have been (`bootstrap.py`)."""


class CrossViewScores(Result):
    """Where neighbouring cameras see the same, for one subject under one scaling."""

    subject: str
    alignment: Alignment
    scaling: Scaling
    truth: TruthName
    overlap: dict[str, Score]
    """By camera: metrics over its points that lie in a neighbour's image too."""
    overlap_mean: Score
    consistency: dict[str, Score]
    """By pair of cameras, `A-B`: `rel` and `rmse` (m) of the two predicted distances from the rig's origin."""
    consistency_mean: Score
    """Mean over pairs; the counts are sums."""


class PartScores(Result):
    """One subject, unscaled, over a part of what is scored."""

    kind: Kind
    """Points by their true depth or by their place in the image; rigs by light and weather, where the dataset describes
    its scenes (a scene counts under each of its conditions), or by scene."""
    part: str
    """`10-30m`, `border` or `centre`, `night`, a scene's name."""
    subject: str
    truth: TruthName
    rigs: int
    """That have a point in it."""
    points: int
    metrics: dict[str, float | None]
    """Mean over cameras, as in `SubjectScores`."""


class RigRank(Result):
    """A rig among those with the greatest AbsRel, which is the mean over its cameras."""

    index: int
    """Of the rig in the split."""
    scene: str
    sample: str
    subject: str
    truth: TruthName
    abs_rel: float


class Evaluation(Result):
    """The whole of `metrics.json`."""

    schema_version: Literal[2] = 2
    code_version: str
    cache: str
    run: str | None
    """Folder of the run whose student was scored."""
    student_sha256: str | None = None
    """Digest of the student's weights."""
    trained_otherwise: tuple[str, ...] = ()
    """What the student was trained on that this is not: other images, cameras or depths; or that it is these rigs."""
    dataset: str
    dataset_version: str
    split: str
    data_sha256: str | None = None
    """Digest of what was scored on: its dataset, rigs and images."""
    rigs: int
    protocol: Protocol
    scores: tuple[SubjectScores, ...]
    """Against LiDAR."""
    dense_scores: tuple[SubjectScores, ...] = ()
    """Against dense depth, where the cache has any."""
    cross_view: tuple[CrossViewScores, ...] = ()
    parts: tuple[PartScores, ...] = ()
    worst: tuple[RigRank, ...] = ()
    """The worst rigs of every subject and truth, worst first."""
    metric_teachers: tuple[MetricTeacherRecord, ...] = ()
    """What teachers were made metric by, with what settings, and what their fit is worth."""
