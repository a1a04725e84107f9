"""Scores by light and weather, where the dataset says what those were in a scene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.evaluate.metrics import METRICS
from stages.evaluate.result import ConditionScores
from stages.evaluate.rig_scores import RigScores, protocol_mean


def condition_scores(scores: RigScores, by_scene: Mapping[str, tuple[str, ...]]) -> tuple[ConditionScores, ...]:
    """Unscaled metrics of every subject and truth over the rigs of each condition, in alphabetical order of these."""
    conditions = sorted({condition for scene in by_scene.values() for condition in scene})
    found = []
    for name, values in scores.values.items():
        subject, truth = name.rsplit("/", 1)
        if truth not in ("lidar", "dense"):
            continue  # overlap and consistency
        for condition in conditions:
            chosen = np.array([condition in by_scene.get(scene, ()) for scene in scores.scenes])
            if chosen.any():
                means = protocol_mean(values[chosen]).tolist()
                metrics = {
                    metric: mean if np.isfinite(mean) else None for metric, mean in zip(METRICS, means, strict=True)
                }
                rigs = int(chosen.sum())
                found.append(
                    ConditionScores(condition=condition, subject=subject, truth=truth, rigs=rigs, metrics=metrics)
                )
    return tuple(found)
