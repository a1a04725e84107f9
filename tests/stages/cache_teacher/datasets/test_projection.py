import numpy as np

from cache_schema import LidarView
from stages.cache_teacher.datasets.projection import project, world_points

SIZE_HW = (4, 6)
INTRINSICS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)


def seen(*points_m: tuple[float, float, float]) -> LidarView:
    """What a camera of focal length 1 px in the LiDAR's place sees: (x, y, z) falls on (x/z, y/z)."""
    world = world_points(np.array(points_m, dtype=np.float64).reshape(-1, 3), np.eye(4))
    return project(world, np.eye(4), INTRINSICS, SIZE_HW)


def test_coordinates_are_truncated_toward_zero_also_left_of_and_above_the_image():
    assert seen((2.9, 1.9, 1)).uv_px.tolist() == [[2, 1]]
    assert seen((-0.9, -0.9, 1)).uv_px.tolist() == [[0, 0]]
    assert seen((5.99, 3.99, 1)).uv_px.tolist() == [[5, 3]]


def test_points_outside_the_image_or_behind_the_camera_are_dropped():
    outside = [(-1, 0, 1), (0, -1, 1), (6, 0, 1), (0, 4, 1), (1, 1, 0), (-1, -1, -1)]
    assert len(seen(*outside).depth_m) == 0


def test_of_several_points_in_one_pixel_the_last_one_stays():
    points = seen((2, 2, 2), (1.2, 1.4, 1), (3, 3, 3))
    assert points.uv_px.tolist() == [[1, 1]]
    assert points.depth_m.tolist() == [3.0]


def test_points_are_ordered_by_row_then_column():
    assert seen((3, 2, 1), (4, 0, 1), (1, 2, 1), (0, 0, 1)).uv_px.tolist() == [[0, 0], [4, 0], [1, 2], [3, 2]]


def test_coordinates_that_are_no_numbers_are_dropped_without_a_warning():
    bad = [(np.nan, 1, 1), (1, 1, np.nan), (np.inf, 1, 1), (1, 1, np.inf), (1, 1, -np.inf), (0, 0, 1e300)]
    assert seen(*bad, (1, 1, 1)).depth_m.tolist() == [1.0]


def test_an_empty_sweep_is_seen_as_nothing():
    points = seen()
    assert points.uv_px.shape == (0, 2)
    assert points.uv_px.dtype == np.uint16
    assert points.depth_m.dtype == np.float32
