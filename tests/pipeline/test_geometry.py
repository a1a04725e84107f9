"""Points in space fall on the pixels that they came from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.geometry import grid_px, unproject


@given(st.floats(0, 640), st.floats(0, 384), st.floats(0.1, 200))
def test_a_point_projects_to_where_it_was(x: float, y: float, depth_m: float) -> None:
    K = np.array([[500.0, 0, 320], [0, 480, 190], [0, 0, 1]])
    (point,) = unproject(np.array([[x, y]]), np.array([depth_m]), K)
    assert point[2] == pytest.approx(depth_m)
    np.testing.assert_allclose((K @ point)[:2] / point[2], [x, y], atol=1e-9)


def test_pixel_centres_of_a_smaller_image_lie_between_those_of_the_native_one() -> None:
    xy_px = grid_px((2, 4), (4, 16))
    np.testing.assert_array_equal(xy_px[0, :, 0], [2, 6, 10, 14])
    np.testing.assert_array_equal(xy_px[:, 0, 1], [1, 3])
