"""Normalised disparity u: what is left of a view's disparity once its scale and shift are gone.

In all ways u grows with the disparity, from 0 (sky, far) to 1 (near), and d and a·d + b (a > 0) give the same u. They
differ in what sets the scale. With `quantiles` it is the nearest things in view. With `median` it is what lies in the
middle, mostly the road, so that a car close by does not push the rest together; both are linear in the disparity, as
a fit to LiDAR needs. With `rank` every part of [0, 1] holds as many pixels, so that uniform bins are as full as can be
(bins at quantiles of u would do the same), but distances are lost. The sky is at or below `FAR_U` in all three.

The abstract of arXiv 2512.08700 does not fix any of this; the choices are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from cache_schema import TargetSpec
from cache_schema.soft_targets import FAR_U

ROUNDING = {"float32": 1e-6, "float16": 4e-3, "bfloat16": 3e-2}
"""A view whose disparity varies by less than this share of itself is constant: the rest is rounding of the precision
that the teacher computes in, a few units in the last place."""

MEDIANS = 4.0
"""`median` has u = 1 at so many times the median's distance from the far end. Of a flat road alone the nearest pixel
has 2, since its disparity grows evenly with the row; beyond is room for what is nearer than the road."""

RANKED = np.linspace(0, 1, 1001)
"""Places between the two quantiles at which ranks are taken. Between them they are linear, lest rounding make ranks of
what is alike."""


@dataclass(frozen=True)
class Normaliser:
    """What V views say about any disparity in them; made by `fit_normaliser`.

    `low` is the disparity at u = 0, `span` how much more it is at u = 1, 0 in a view that is constant: disparity is
    low + u · span. Ranks replace u from `FAR_U` on: `ranks` are those of the u in `RANKED`, 0 to 1.
    """

    low: Float[np.ndarray, "V 1 1"]
    span: Float[np.ndarray, "V 1 1"]
    ranks: Float[np.ndarray, "V N"] | None = None

    @property
    def constant(self) -> Bool[np.ndarray, "V 1 1"]:
        """Which views have no contrast, and so say nothing about shape."""
        return np.asarray(self.span == 0)

    def __call__(self, disparity: Float[np.ndarray, "V h w"]) -> Float[np.ndarray, "V h w"]:
        """u of each pixel; ½ everywhere in a view that is constant."""
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.where(self.constant, 0.5, np.clip((disparity - self.low) / self.span, 0, 1))
        if self.ranks is None:
            return u
        ranked = np.stack([np.interp(view, RANKED, ranks) for view, ranks in zip(u, self.ranks, strict=True)])
        return np.where((u > FAR_U) & ~self.constant, FAR_U + (1 - FAR_U) * ranked, u)


def fit_normaliser(
    disparity: Float[np.ndarray, "V h w"],
    mask: Bool[np.ndarray, "V h w"],
    spec: TargetSpec,
    rounding: float = ROUNDING["float32"],
) -> Normaliser:
    """Look at the pixels of each view where `mask` holds; a view that it covers whole is judged by all of them.

    A view that varies by less than the share `rounding` of itself is constant.
    """
    usable = [d[m] if m.any() else d.ravel() for d, m in zip(disparity, mask, strict=True)]
    low, high = np.stack([np.quantile(d, spec.quantiles) for d in usable], axis=1)
    contrast = np.where(high - low > rounding * np.maximum(np.abs(low), np.abs(high)), high - low, 0)
    by_quantiles = Normaliser(low[:, None, None], contrast[:, None, None])
    if spec.normalisation == "quantiles":
        return by_quantiles
    near = [(d - a)[d - a > FAR_U * whole] for d, a, whole in zip(usable, low, contrast, strict=True)]
    if spec.normalisation == "median":
        span = [MEDIANS * np.median(d) if whole else 0.0 for d, whole in zip(near, contrast, strict=True)]
        return replace(by_quantiles, span=np.array(span)[:, None, None])
    ranks = [_ranks(np.minimum(d / (whole or 1), 1)) for d, whole in zip(near, contrast, strict=True)]
    return replace(by_quantiles, ranks=np.stack(ranks))


def _ranks(u: Float[np.ndarray, "_"]) -> Float[np.ndarray, "N"]:
    """Share of pixels that are farther, and half of those alike, at each place of `RANKED`.

    Every pixel counts at the two places around it, the more the nearer it is; so ranks move evenly with it.
    """
    steps = len(RANKED) - 1
    below, beyond = np.divmod(u * steps, 1)
    at = below.astype(int)
    weight = np.bincount(at, 1 - beyond, steps + 2) + np.bincount(at + 1, beyond, steps + 2)
    share: Float[np.ndarray, "N"] = ((weight.cumsum() - weight / 2) / max(len(u), 1))[:-1]
    return share
