"""Which images of several cameras, each with a clock of its own, are one rig."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.cache_teacher.datasets.nuscenes.between import nearest_in_time

times = st.lists(st.integers(0, 10_000), min_size=1, max_size=12, unique=True).map(lambda each: np.array(sorted(each)))


@given(st.lists(times, min_size=1, max_size=4))
def test_every_image_of_the_first_camera_gets_the_nearest_of_the_others(cameras: list[np.ndarray]) -> None:
    before = None
    for time, (indices, spread, repeats) in zip(cameras[0], nearest_in_time(cameras), strict=True):
        chosen = [int(each[i]) for each, i in zip(cameras, indices, strict=True)]
        assert chosen[0] == time
        assert [abs(c - time) for c in chosen] == [int(np.abs(each - time).min()) for each in cameras]
        assert spread == max(chosen) - min(chosen)
        assert repeats == (before is not None and any(one == other for one, other in zip(chosen, before, strict=True)))
        before = chosen


def test_a_camera_that_dropped_an_image_repeats_one() -> None:
    front, back = np.array([0, 83, 166, 250]), np.array([30, 196, 280])
    found = [(indices.tolist(), spread, repeats) for indices, spread, repeats in nearest_in_time([front, back])]
    assert found == [([0, 0], 30, False), ([1, 0], 53, True), ([2, 1], 30, False), ([3, 2], 30, False)]
