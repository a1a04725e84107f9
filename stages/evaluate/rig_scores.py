"""`metrics.npz`: every metric of every rig, beside `metrics.json`, which holds the means.

    student/lidar                  (rig, camera, metric)   float32
    student/dense                  (rig, camera, metric)
    student/lidar.overlap          (rig, camera, metric)   points that a neighbouring camera sees too
    student/lidar.consistency      (rig, pair, consistency)
    student/lidar.10-30m           (rig, camera, metric)   by the depth of the truth, and so with .border and .centre
    points:student/lidar           (rig, camera)           how many points each of these is of
    scene, sample                  (rig,)      cameras, pairs, metrics, consistency: names along the other axes

and the same for each teacher that was scored: `teacher NAME/lidar`. Unscaled depth only; NaN where an image had no
point, or a camera no neighbour. `numpy.load` reads it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from cache_schema.durable import write_atomic
from cache_schema.errors import EvaluationError
from stages.evaluate.metrics import CONSISTENCY, METRICS

_POINTS = "points:"
_NAMES = ("scene", "sample", "cameras", "pairs", "metrics", "consistency")


@dataclass(frozen=True)
class RigScores:
    """Scores of every rig of a split. A value's name is `SUBJECT/TRUTH`, perhaps with `.overlap`, `.consistency` or a
    region; `points` has the same names.
    """

    scenes: tuple[str, ...]
    samples: tuple[str, ...]
    cameras: tuple[str, ...]
    pairs: tuple[str, ...]
    values: Mapping[str, Float[np.ndarray, "rig place metric"]]
    points: Mapping[str, Int64[np.ndarray, "rig place"]]

    def of(self, subject: str) -> dict[str, Float[np.ndarray, "rig place metric"]]:
        """The values of one subject, by truth."""
        start = f"{subject}/"
        return {name.removeprefix(start): value for name, value in self.values.items() if name.startswith(start)}


def rig_scores_file(metrics: Path) -> Path:
    """Where they are, beside the means in `metrics`."""
    return metrics.with_suffix(".npz")


def metrics_of(name: str) -> tuple[str, ...]:
    """Names along the last axis of a value."""
    return CONSISTENCY if name.endswith(".consistency") else METRICS


def protocol_mean(values: Float[np.ndarray, "rig place metric"]) -> Float[np.ndarray, "metric"]:
    """Mean over the rigs of each camera (or pair), then over cameras, as the protocol takes it; NaN: nothing known."""
    return np.asarray(weighted_means(values, np.ones((1, len(values))))[0])


def weighted_means(
    values: Float[np.ndarray, "rig place metric"], weights: Float[np.ndarray, "draw rig"]
) -> Float[np.ndarray, "draw metric"]:
    """The protocol's means where rig r counts weights[d, r] times, for every draw d."""
    known = np.isfinite(values)
    sums = np.tensordot(weights, np.where(known, values, 0).astype(np.float64), axes=1)
    counts = np.tensordot(weights, known.astype(np.float64), axes=1)
    seen = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=seen)
    places = seen.sum(axis=1)
    return np.asarray(np.divide(means.sum(axis=1), places, out=np.full(places.shape, np.nan), where=places > 0))


def write_rig_scores(file: Path, scores: RigScores) -> None:
    """Write the file, whole or not at all."""
    texts = (scores.scenes, scores.samples, scores.cameras, scores.pairs, METRICS, CONSISTENCY)
    arrays: dict[str, Any] = {name: np.array(text, str) for name, text in zip(_NAMES, texts, strict=True)}
    arrays |= {name: value.astype(np.float32) for name, value in scores.values.items()}
    arrays |= {f"{_POINTS}{name}": points for name, points in scores.points.items()}
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)
    write_atomic(file, held.getvalue())


def read_rig_scores(file: Path) -> RigScores:
    """Read the file. Raises EvaluationError where it is missing, damaged or of other metrics."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            names = {name: tuple(str(text) for text in stored[name]) for name in _NAMES}
            counts = {name: stored[name] for name in stored.files if name.startswith(_POINTS)}
            values = {name: stored[name] for name in stored.files if name not in (*_NAMES, *counts)}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise EvaluationError(f"{file} cannot be read ({error}); expected metrics of every rig: score again") from error
    if (names["metrics"], names["consistency"]) != (METRICS, CONSISTENCY):
        raise EvaluationError(f"{file} holds the metrics {', '.join(names['metrics'])}; score again with this version")
    points = {name.removeprefix(_POINTS): count for name, count in counts.items()}
    return RigScores(names["scene"], names["sample"], names["cameras"], names["pairs"], values, points)
