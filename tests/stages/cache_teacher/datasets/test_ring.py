import numpy as np
import pytest

from stages.cache_teacher.datasets.ring import Ring, ring_from_calibration, same_order


def ring_at(half_view_deg: float, **azimuth_deg: float) -> Ring:
    """The ring of cameras that look level in the given directions, all with the same field of view."""
    width_per_focal = np.tan(np.radians(half_view_deg))
    intrinsics = np.array([[100, 0, 100 * width_per_focal], [0, 100, 50], [0, 0, 1]], dtype=np.float32)
    return ring_from_calibration(
        {name: looking_at(np.radians(azimuth)) for name, azimuth in azimuth_deg.items()},
        dict.fromkeys(azimuth_deg, intrinsics),
    )


def looking_at(azimuth: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 0] = np.sin(azimuth), -np.cos(azimuth), 0
    matrix[:3, 1] = 0, 0, -1
    matrix[:3, 2] = np.cos(azimuth), np.sin(azimuth), 0
    return matrix


def test_ring_runs_counter_clockwise_from_the_front():
    ring = ring_at(40, right=-60, back=180, front=3, back_left=125, left=55, back_right=-120)
    assert ring.cameras == ("front", "left", "back_left", "back", "back_right", "right")
    assert ring.adjacent_pairs == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0))


def test_the_first_camera_is_the_one_nearest_to_the_front_on_either_side():
    assert ring_at(40, a=-10, b=40, c=-60).cameras == ("a", "b", "c")


def test_views_with_a_gap_between_them_are_not_adjacent():
    ring = ring_at(40, front=0, left=60, right=-60)
    assert ring.cameras == ("front", "left", "right")
    assert ring.adjacent_pairs == ((0, 1), (2, 0))


@pytest.mark.parametrize(("gap_deg", "adjacent"), [(1.9, True), (2.1, False)])
def test_views_that_nearly_touch_are_adjacent(gap_deg: float, adjacent: bool):
    ring = ring_at(30, front=0, left=60 + gap_deg, right=-100)
    assert ((0, 1) in ring.adjacent_pairs) is adjacent


def test_two_cameras_make_one_pair_and_one_makes_none():
    assert ring_at(40, a=0, b=-60).adjacent_pairs == ((0, 1),)
    assert ring_at(40, a=0).adjacent_pairs == ()


def test_order_is_compared_as_a_cycle_over_the_shared_cameras():
    assert same_order(("a", "b", "c", "d"), ("c", "d", "a"))
    assert same_order(("a", "b", "c"), ())
    assert not same_order(("a", "b", "c"), ("a", "c", "b"))
