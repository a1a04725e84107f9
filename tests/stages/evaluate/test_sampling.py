"""Sampling a prediction at native pixels is resizing it first, without the cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.evaluate.sampling import at_native_points


@pytest.mark.parametrize("native", [(121, 193), (64, 96), (16, 24), (40, 500)])
def test_equal_to_resizing_the_whole_map(native: tuple[int, int]) -> None:
    prediction = np.random.default_rng(0).uniform(1, 100, (32, 48))
    whole = F.interpolate(torch.from_numpy(prediction)[None, None], native, mode="bilinear", align_corners=False)
    v, u = np.meshgrid(np.arange(native[0]), np.arange(native[1]), indexing="ij")
    centres = np.stack([u.ravel(), v.ravel()], axis=1) + 0.5
    np.testing.assert_allclose(at_native_points(prediction, centres, native), whole.numpy().ravel(), rtol=1e-9)


def test_no_points_give_no_values() -> None:
    assert at_native_points(np.ones((4, 4)), np.zeros((0, 2)), (8, 8)).shape == (0,)
