"""Draws of scenes and rigs, and the interval of what comes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluate.bootstrap import draws, interval, reach


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
@settings(max_examples=20)
def test_a_draw_takes_whole_scenes_and_from_each_as_many_rigs_as_it_has(scenes: list[int]) -> None:
    names = [str(scene) for scene in scenes]
    weights = draws(names, count=50)
    assert weights.shape == (51, len(names))
    assert (weights[0] == 1).all()
    for scene in set(names):
        rigs = [rig for rig, name in enumerate(names) if name == scene]
        taken = weights[1:, rigs].sum(axis=1) / len(rigs)
        assert (taken == taken.astype(int)).all(), "a scene is taken a whole number of times"
    sizes = np.array([names.count(name) for name in names])
    np.testing.assert_allclose(
        (weights[1:] / sizes).sum(axis=1), len(set(names)), err_msg="as many scenes as there are"
    )


def test_the_draws_are_the_same_every_time() -> None:
    assert (draws(["a", "a", "b"]) == draws(["a", "a", "b"])).all()


def test_the_interval_leaves_out_a_fortieth_at_either_end() -> None:
    assert interval(np.arange(2001.0)) == (50, 1950)
    assert interval(np.array([1.0, 1.0, np.nan])) is None, "no draw changes it"


@pytest.mark.parametrize(
    ("scenes", "rigs", "said"),
    [
        (1, 1, "no interval, for there is 1 rig"),
        (1, 40, "over the 40 rigs of 1 scene: they say nothing of other scenes"),
        (2, 40, "over 2 scenes only, which is too few"),
        (5, 40, ""),
    ],
)
def test_intervals_over_few_scenes_say_so(scenes: int, rigs: int, said: str) -> None:
    assert said in reach(scenes, rigs)
    assert bool(said) == bool(reach(scenes, rigs))
