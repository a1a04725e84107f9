"""The field's eight depth metrics, as Eigen et al. (NeurIPS 2014) define them and SurroundDepth computes them.

Beside them, what says whether two cameras agree.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "silog", "delta_1", "delta_2", "delta_3")
"""Lower is better for the first five, higher for the deltas. sq_rel and rmse are in metres."""

CONSISTENCY = ("rel", "rmse")
"""Lower is better; rmse is in metres."""


def depth_metrics(truth_m: Float[np.ndarray, "point"], predicted_m: Float[np.ndarray, "point"]) -> dict[str, float]:
    """All metrics over the points of one image; both depths positive and finite, at least one point.

    With g the truth and p the prediction: abs_rel = mean(|g − p| / g), sq_rel = mean((g − p)² / g),
    rmse = √mean((g − p)²), rmse_log = √mean((ln g − ln p)²), silog = 100·√(mean(e²) − mean(e)²) with
    e = ln p − ln g (KITTI), delta_i = share of points with max(g/p, p/g) < 1.25^i.
    """
    g, p = truth_m.astype(np.float64), predicted_m.astype(np.float64)
    error = g - p
    log_error = np.log(p) - np.log(g)
    ratio = np.maximum(g / p, p / g)
    return {
        "abs_rel": float(np.mean(np.abs(error) / g)),
        "sq_rel": float(np.mean(error**2 / g)),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "rmse_log": float(np.sqrt(np.mean(log_error**2))),
        "silog": float(100 * np.sqrt(np.var(log_error))),
        **{f"delta_{i}": float(np.mean(ratio < 1.25**i)) for i in (1, 2, 3)},
    }


def consistency_metrics(a_m: Float[np.ndarray, "point"], b_m: Float[np.ndarray, "point"]) -> dict[str, float]:
    """How far two predictions of the same distances are apart; both positive and finite, at least one point.

    rel = mean(2·|a − b| / (a + b)), rmse = √mean((a − b)²). Neither asks which of the two is right. Depth consistency
    between overlapping views is reported by CVCDepth (IROS 2024) and others; these formulas are ours.
    """
    a, b = a_m.astype(np.float64), b_m.astype(np.float64)
    return {
        "rel": float(np.mean(relative_difference(a, b))),
        "rmse": float(np.sqrt(np.mean((a - b) ** 2))),
    }


def relative_difference(a: Float[np.ndarray, "point"], b: Float[np.ndarray, "point"]) -> Float[np.ndarray, "point"]:
    """How far apart two positive values are, in parts of their mean."""
    return np.asarray(2 * np.abs(a - b) / (a + b))
