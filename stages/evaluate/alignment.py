"""Bringing a prediction of unknown scale, or scale and shift, to metres before it is scored."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LEAST_DISPARITY = 1e-6
"""Of relative disparity, where half of an image is at infinity."""


def median_scale(truth_m: Float[np.ndarray, "point"], predicted_m: Float[np.ndarray, "point"]) -> float:
    """median(truth) / median(prediction), the field's usual scale (Zhou et al., CVPR 2017).

    1 where the median of the prediction is not above 0.
    """
    middle = float(np.median(predicted_m))
    return float(np.median(truth_m)) / middle if middle > 0 else 1.0


def fit_disparity(u: Float[np.ndarray, "point"], truth_m: Float[np.ndarray, "point"]) -> tuple[float, float]:
    """Least-squares (a, b) of a·u + b ≈ 1/truth: scale and shift of a relative disparity (MiDaS, TPAMI 2022)."""
    design = np.stack([u, np.ones_like(u)], axis=1).astype(np.float64)
    (a, b), *_ = np.linalg.lstsq(design, 1 / truth_m.astype(np.float64), rcond=None)
    return float(a), float(b)


def scale_disparity(u: Float[np.ndarray, "point"], truth_m: Float[np.ndarray, "point"]) -> float:
    """a where the median of 1/(a·u) is that of the truth: a scale for a disparity that is taken to have no shift."""
    return 1 / (float(np.median(truth_m)) * max(float(np.median(u)), LEAST_DISPARITY))


def depth_from_disparity(disparity: Float[np.ndarray, "point"], max_depth_m: float) -> Float[np.ndarray, "point"]:
    """1/disparity in metres; what lies at or beyond infinity becomes `max_depth_m`."""
    return np.asarray(1 / np.maximum(disparity, 1 / max_depth_m))
