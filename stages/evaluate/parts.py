"""Scores of parts of what is scored, and the rigs that came out worst; all from the scores of every rig."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Float

from stages.evaluate.bootstrap import interval, weights
from stages.evaluate.metrics import METRICS
from stages.evaluate.protocol import Protocol
from stages.evaluate.regions import regions_of
from stages.evaluate.result import Kind, PartScores, RigRank
from stages.evaluate.rig_scores import RigScores, protocol_mean, weighted_means

WORST = 5
"""Rigs that are listed for each subject and truth."""


def part_scores(
    scores: RigScores, protocol: Protocol, conditions: Mapping[str, tuple[str, ...]]
) -> tuple[PartScores, ...]:
    """Unscaled metrics of every subject and truth by depth, by place in the image, by condition and by scene.

    `conditions` are those of each scene that is described, such as `night`; they come in alphabetical order, scenes in
    the order of their rigs.
    """
    return tuple(part for name in _whole(scores) for part in _parts(scores, name, protocol, conditions))


def worst_rigs(scores: RigScores) -> tuple[RigRank, ...]:
    """Of every subject and truth those with the greatest AbsRel, worst first."""
    found = []
    for name in _whole(scores):
        subject, truth = name.rsplit("/", 1)
        means = _rig_means(scores, name)
        order = np.argsort(-means, kind="stable")[: min(WORST, int(np.isfinite(means).sum()))]  # NaN comes last
        for index in order.tolist():
            scene, sample = scores.scenes[index], scores.samples[index]
            found.append(
                RigRank(
                    index=index, scene=scene, sample=sample, subject=subject, truth=truth, abs_rel=float(means[index])
                )
            )
    return tuple(found)


def intervals(scores: RigScores, name: str) -> dict[str, tuple[float, float]]:
    """95 % intervals of the protocol's means of a value, by metric, where any draw changes them."""
    means = weighted_means(scores.values[name], weights(scores.scenes))[1:]
    found = {metric: interval(column) for metric, column in zip(METRICS, means.T, strict=True)}
    return {metric: ends for metric, ends in found.items() if ends is not None}


def _whole(scores: RigScores) -> list[str]:
    """Names of values that are over whole images."""
    return [name for name in scores.values if name.rsplit("/", 1)[1] in ("lidar", "dense")]


def _rig_means(scores: RigScores, name: str) -> Float[np.ndarray, "rig"]:
    """AbsRel of every rig, the mean over its cameras; NaN where no camera has a point."""
    values = scores.values[name][..., METRICS.index("abs_rel")]
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0).sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))


def _parts(
    scores: RigScores, name: str, protocol: Protocol, conditions: Mapping[str, tuple[str, ...]]
) -> Iterator[PartScores]:
    every = np.ones(len(scores.scenes), bool)
    for region, kind in regions_of(protocol).items():
        yield _part(scores, name, f"{name}.{region}", kind, region, every)
    for condition in sorted({condition for scene in conditions.values() for condition in scene}):
        chosen = np.array([condition in conditions.get(scene, ()) for scene in scores.scenes])
        if chosen.any():
            yield _part(scores, name, name, "condition", condition, chosen)
    for scene in dict.fromkeys(scores.scenes):
        yield _part(scores, name, name, "scene", scene, np.array([each == scene for each in scores.scenes]))


def _part(
    scores: RigScores, name: str, values: str, kind: Kind, part: str, rigs: Bool[np.ndarray, "rig"]
) -> PartScores:
    subject, truth = name.rsplit("/", 1)
    means = protocol_mean(scores.values[values][rigs]).tolist()
    points = scores.points[values][rigs]
    return PartScores(
        kind=kind,
        part=part,
        subject=subject,
        truth=truth,
        rigs=int((points > 0).any(axis=1).sum()),
        points=int(points.sum()),
        metrics={metric: mean if np.isfinite(mean) else None for metric, mean in zip(METRICS, means, strict=True)},
    )
