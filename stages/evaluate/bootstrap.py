"""What other test rigs might have said: the two-stage bootstrap for clustered data.

A draw takes as many scenes as there are, with replacement, and from each scene taken as many of its rigs as it has,
with replacement (Davison and Hinkley, Bootstrap Methods and their Application, 1997, §3.8): rigs of a scene are alike,
so they do not count as independent. An interval is the 2.5 and 97.5 percentiles over 2,000 draws, which are the same
every time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from stages.wording import counted

DRAWS = 2000
PERCENTILES = (2.5, 97.5)
FEW_SCENES = 5
"""Fewer are too few to tell how scenes differ."""
_SEED = 20251208


def draws(scenes: Sequence[str], count: int = DRAWS) -> Int64[np.ndarray, "draw rig"]:
    """How often each rig counts: once in the first row, as drawn in `count` further ones."""
    names, scene_of_rig = np.unique(np.array(scenes), return_inverse=True)
    random = np.random.default_rng(_SEED)
    taken = random.multinomial(len(names), [1 / len(names)] * len(names), size=count)
    weights = np.ones((count + 1, len(scenes)), np.int64)
    for scene in range(len(names)):
        rigs = np.flatnonzero(scene_of_rig == scene)
        weights[1:, rigs] = random.multinomial(taken[:, scene] * len(rigs), [1 / len(rigs)] * len(rigs))
    return weights


@functools.lru_cache(maxsize=1)
def weights(scenes: tuple[str, ...]) -> Float[np.ndarray, "draw rig"]:
    """The draws as weights of the rigs."""
    return draws(scenes).astype(np.float64)


def interval(drawn: Float[np.ndarray, "draw"]) -> tuple[float, float] | None:
    """The 95 % interval of a figure, from its values under the draws; none where no draw changes it."""
    known = drawn[~np.isnan(drawn)]
    if not len(known) or known.min() == known.max():
        return None
    low, high = np.percentile(known, PERCENTILES)
    return float(low), float(high)


def reach(scenes: int, rigs: int) -> str:
    """What intervals over so many scenes and rigs say nothing of, in a sentence; empty where all is well."""
    if scenes >= FEW_SCENES:
        return ""
    if rigs < 2:
        return "There is no interval, for there is 1 rig: another might say the opposite."
    if scenes == 1:
        return f"Intervals are over the {rigs} rigs of 1 scene: they say nothing of other scenes."
    return f"Intervals are over {counted(scenes, 'scene')} only, which is too few: they are too narrow."
