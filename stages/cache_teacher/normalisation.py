"""Normalised disparity u: what is left of a view's disparity once its scale and shift are gone.

In all ways u grows with the disparity, from 0 (sky, far) to 1 (near), and d and a·d + b (a > 0) give the same u. They
differ in what sets the scale. With `quantiles` it is the nearest things in view. With `median` it is what lies in the
middle, mostly the road, so that a car close by does not push the rest together; both are linear in the disparity, as
a fit to LiDAR needs. With `rank` every part of [0, 1] holds as many pixels, so that uniform bins are as full as can be
(bins at quantiles of u would do the same), but distances are lost. Sky and very far pixels have the same u in all
three, at or below `FAR_U`.

The abstract of arXiv 2512.08700 does not fix any of this; the choices are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from cache_schema import TargetSpec
from cache_schema.soft_targets import FAR_U

ROUNDING = 1e-6
"""A view whose disparity varies by less than this share of itself is constant, and pixels of a view closer than this
share of its range have one rank: the rest is float32's rounding."""

MEDIANS = 4.0
"""`median` has u = 1 at so many times the median's distance from the far end. Of a flat road alone the nearest pixel
has 2, since its disparity grows evenly with the row; beyond is room for what is nearer than the road."""


@dataclass(frozen=True)
class Normaliser:
    """What V views say about any disparity in them; made by `fit_normaliser`.

    `low` is the disparity at u = 0, `unit` what one unit of u is worth, 0 in a view that is constant. For ranks, these
    give the places that are ranked: `ranked` holds those of each view's pixels beyond `FAR_U`, ascending.
    """

    low: Float[np.ndarray, "V 1 1"]
    unit: Float[np.ndarray, "V 1 1"]
    ranked: tuple[Float[np.ndarray, "_"], ...] | None = None

    @property
    def constant(self) -> Bool[np.ndarray, "V 1 1"]:
        """Which views have no contrast, and so say nothing about shape."""
        return np.asarray(self.unit == 0)

    def __call__(self, disparity: Float[np.ndarray, "V h w"]) -> Float[np.ndarray, "V h w"]:
        """u of each pixel; ½ everywhere in a view that is constant."""
        with np.errstate(divide="ignore", invalid="ignore"):
            place = (disparity - self.low) / self.unit
        u = np.clip(place, 0, 1)
        if self.ranked is not None:
            u = np.stack([_rank(*each) for each in zip(u, place, self.ranked, strict=True)])
        return np.where(self.constant, 0.5, u)


def fit_normaliser(
    disparity: Float[np.ndarray, "V h w"], mask: Bool[np.ndarray, "V h w"], spec: TargetSpec
) -> Normaliser:
    """Look at the pixels of each view where `mask` holds; a view that it covers whole is judged by all of them."""
    usable = [d[m] if m.any() else d.ravel() for d, m in zip(disparity, mask, strict=True)]
    low, high = np.stack([np.quantile(d, spec.quantiles) for d in usable], axis=1)
    contrast = np.where(high - low > ROUNDING * np.maximum(np.abs(low), np.abs(high)), high - low, 0)
    if spec.normalisation == "quantiles":
        return Normaliser(_per_view(low), _per_view(contrast))
    near = [d[d - a > FAR_U * unit] for d, a, unit in zip(usable, low, contrast, strict=True)]
    if spec.normalisation == "median":
        middle = [np.median(d) - a if unit else 0 for d, a, unit in zip(near, low, contrast, strict=True)]
        return Normaliser(_per_view(low), _per_view(MEDIANS * np.asarray(middle)))
    ranked = [_steps((d - a) / (unit or 1)) for d, a, unit in zip(near, low, contrast, strict=True)]
    return Normaliser(_per_view(low), _per_view(contrast), tuple(np.sort(places) for places in ranked))


def _rank(
    u: Float[np.ndarray, "h w"], place: Float[np.ndarray, "h w"], ranked: Float[np.ndarray, "_"]
) -> Float[np.ndarray, "h w"]:
    """u up to `FAR_U`; from there on to 1 the share of `ranked` that is farther, half of those alike among them."""
    steps = _steps(place)
    below, up_to = np.searchsorted(ranked, steps, "left"), np.searchsorted(ranked, steps, "right")
    share = (below + up_to) / (2 * max(len(ranked), 1))
    return np.where(u > FAR_U, FAR_U + (1 - FAR_U) * share, u)


def _steps(place: np.ndarray) -> np.ndarray:
    return np.round(place / ROUNDING)


def _per_view(values: np.ndarray) -> Float[np.ndarray, "V 1 1"]:
    return np.asarray(values)[:, None, None]
