"""The metrics against an independent restatement of the published formulas, and what they do at their edges."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.evaluate.metrics import METRICS, depth_metrics


def restated(truth: list[float], predicted: list[float]) -> dict[str, float]:
    """The formulas of Eigen et al. and KITTI, point by point in plain Python."""
    n = len(truth)
    pairs = list(zip(truth, predicted, strict=True))
    logs = [math.log(p) - math.log(g) for g, p in pairs]
    spread = sum(e * e for e in logs) / n - (sum(logs) / n) ** 2
    return {
        "abs_rel": sum(abs(g - p) / g for g, p in pairs) / n,
        "sq_rel": sum((g - p) ** 2 / g for g, p in pairs) / n,
        "rmse": math.sqrt(sum((g - p) ** 2 for g, p in pairs) / n),
        "rmse_log": math.sqrt(sum(e * e for e in logs) / n),
        "silog": 100 * math.sqrt(max(spread, 0)),
        **{f"delta_{i}": sum(max(g / p, p / g) < 1.25**i for g, p in pairs) / n for i in (1, 2, 3)},
    }


depths = hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(0.125, 200, width=32))


@settings(deadline=None)
@given(depths, st.integers(0, 2**32 - 1))
def test_equal_to_the_published_formulas(truth: np.ndarray, seed: int) -> None:
    predicted = (truth * np.exp(np.random.default_rng(seed).normal(0, 0.3, truth.shape))).astype(np.float32)
    ours = depth_metrics(truth, predicted)
    assert tuple(ours) == METRICS
    for name, value in restated(truth.tolist(), predicted.tolist()).items():
        assert ours[name] == pytest.approx(value, rel=1e-6, abs=1e-4 if name == "silog" else 1e-6)


def test_a_perfect_prediction_has_no_error() -> None:
    truth = np.linspace(1, 100, 50)
    scores = depth_metrics(truth, truth)
    assert all(scores[name] == 0 for name in METRICS[:5])
    assert all(scores[name] == 1 for name in METRICS[5:])


def test_a_constant_prediction_by_hand() -> None:
    scores = depth_metrics(np.array([10.0, 20.0]), np.array([10.0, 10.0]))
    assert scores["abs_rel"] == pytest.approx(float(Fraction(1, 4)))
    assert scores["sq_rel"] == pytest.approx(2.5)
    assert scores["rmse"] == pytest.approx(math.sqrt(50))
    assert scores["rmse_log"] == pytest.approx(math.log(2) / math.sqrt(2))
    assert scores["silog"] == pytest.approx(100 * math.log(2) / 2)
    assert scores["delta_1"] == 0.5


def test_the_delta_threshold_is_strict() -> None:
    scores = depth_metrics(np.array([4.0]), np.array([5.0]))
    assert scores["delta_1"] == 0
    assert scores["delta_2"] == 1


def test_a_common_scale_leaves_silog_alone() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.uniform(1, 80, 100), rng.uniform(1, 80, 100)
    assert depth_metrics(truth, 3 * predicted)["silog"] == pytest.approx(depth_metrics(truth, predicted)["silog"])
