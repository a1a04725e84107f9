"""Two trials compared on the same rigs with the same seeds: differences, relative improvements, and their intervals.

For a figure f, seed s and weights w of the rigs, f(trial, s, w) is the protocol's mean with every rig counted w times.
With all weights 1 it is the figure of `metrics.json`. For a trial against another:

    difference    D_f(w) = mean over seeds of f(trial, s, w) − f(other, s, w)
    improvement   I_f(w) = mean over seeds of (e(other, s, w) − e(trial, s, w)) / e(other, s, w)
    mean          I(w)   = mean of I_f(w) over AbsRel, SqRel, RMSE, RMSElog and 1 − δ1

where the error e is f, or 1 − f for the deltas: a positive improvement is one. Reported is the value at w = 1, and the
95 % interval of `stages.evaluate.bootstrap`. All trials and seeds are drawn with the same weights, so that what is hard
for both falls out of their difference.

The interval says what other test rigs could change; the standard deviation over seeds, beside it, what training again
could.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from pipeline.study.figures import HIGHER_IS_BETTER, Figure, figure
from stages.evaluate.bootstrap import interval, weights
from stages.evaluate.rig_scores import RigScores, metrics_of, weighted_means

AVERAGED = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta_1")
"""What the mean improvement is taken over; of δ1, 1 − δ1."""
MEAN = "mean"

Drawn = Float[np.ndarray, "seed draw"]
"""A figure of each seed: first as it is, then under every draw."""


class Estimate(Figure):
    """A figure with its 95 % interval over scenes and rigs; none where no draw changes it, as with a single rig."""

    low: float | None = None
    high: float | None = None


def drawn_figures(runs: Sequence[RigScores], subject: str = "student") -> dict[str, Drawn]:
    """Every unscaled figure of a trial, from the runs of its seeds, on the same rigs; names as in `figures.py`."""
    drawn = weights(runs[0].scenes)
    found: dict[str, list[Float[np.ndarray, "draw"]]] = {}
    for run in runs:
        for truth, values in run.of(subject).items():
            means = weighted_means(values, drawn)
            for name, column in zip(metrics_of(truth), means.T, strict=True):
                found.setdefault(f"{truth}.{name}", []).append(column)
    return {name: np.stack(columns) for name, columns in found.items()}


def differences(trial: Mapping[str, Drawn], other: Mapping[str, Drawn]) -> dict[str, Estimate]:
    """What a trial's figures are more than those of the other, by figure."""
    return {name: _estimate(values - other[name]) for name, values in trial.items() if name in other}


def improvements(trial: Mapping[str, Drawn], other: Mapping[str, Drawn]) -> dict[str, Estimate]:
    """Relative changes for the better, by figure, and over the usual five as `lidar.mean` and `dense.mean`."""
    moved = {name: _improvement(name, values, other[name]) for name, values in trial.items() if name in other}
    found = {name: _estimate(values) for name, values in moved.items()}
    for truth in ("lidar", "dense"):
        five = [moved[name] for metric in AVERAGED if (name := f"{truth}.{metric}") in moved]
        if len(five) == len(AVERAGED):
            found[f"{truth}.{MEAN}"] = _estimate(np.mean(five, axis=0))
    return found


def _improvement(name: str, values: Drawn, other: Drawn) -> Drawn:
    if name.rpartition(".")[2] in HIGHER_IS_BETTER:
        values, other = 1 - values, 1 - other
    return np.asarray(np.divide(other - values, other, out=np.full(other.shape, np.nan), where=other != 0))


def _estimate(values: Drawn) -> Estimate:
    seeds = figure([None if np.isnan(value) else float(value) for value in values[:, 0]])
    low, high = interval(values[:, 1:].mean(axis=0)) or (None, None)
    return Estimate(**dict(seeds), low=low, high=high)
