"""Settings of the metric teacher."""

from __future__ import annotations

from pydantic import Field

from cache_schema.manifest import Record


class MetricTeacherConfig(Record):
    """What the scale and shift of each view of a teacher are told from, and how that is learned."""

    raw_scale: bool = True
    """Learn from the raw scale of each view; else from its normalised disparity alone."""
    features: bool | None = None
    """Learn from the teacher's features. Where the cache has them if not given, but not without raw scales: the ground
    alone told more than both in the embedded world."""
    ground: bool = True
    """Learn from where a flat ground is, seen through the calibration."""
    folds: int = Field(default=4, ge=2)
    """Parts of the scenes, at most: the views of each are told by a head that learned from the others."""
    steps: int = Field(default=300, ge=1)
    batch_rigs: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    hidden: int = Field(default=64, ge=1)
    points: int = Field(default=256, ge=1)
    """LiDAR points of each view that are learned from, at most, drawn by chance."""
    d_min_m: float = Field(default=1.0, gt=0)
    d_max_m: float | None = Field(default=None, gt=0)
    """Metric bin centres lie between d_min_m and d_max_m, and so do the LiDAR points that are used. Where it is not
    given, d_max_m is how far the cache's dataset is scored."""
    seed: int = 0
