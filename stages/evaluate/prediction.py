"""A prediction of one rig, asked for depth at points of its images, and its comparison with a truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from stages.evaluate.alignment import depth_from_disparity, fit_disparity, scale_disparity
from stages.evaluate.sampling import at_native_points
from stages.evaluate.truth import Truth

Alignment = Literal["metric", "disparity_least_squares", "disparity_median"]
"""How a subject's maps become metric: they are; by scale and shift of each image's disparity, fitted to its LiDAR by
least squares; by a scale alone, from medians, as if the disparity had no shift."""
Fit = tuple[float, float]
"""Scale and shift of a relative disparity."""


@dataclass(frozen=True)
class Prediction:
    """Depth in metres of V views or, with `fits`, relative disparity and what makes it metric.

    Depth that is 0 all over a view says that nothing is known of it.
    """

    maps: Float[np.ndarray, "V h w"]
    native_size: tuple[int, int]
    max_depth_m: float
    fits: tuple[Fit | None, ...] | None = None
    """Per view; None for a view that had no LiDAR point to fit to, of which nothing is known."""

    def knows(self, view: int) -> bool:
        """Whether there is metric depth for a view."""
        return bool(self.maps[view].any()) if self.fits is None else self.fits[view] is not None

    def at(self, view: int, xy_px: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "point"]:
        """Depth in metres, not clamped, at points (x right, y down) of the native image of a view that it knows."""
        sampled = at_native_points(self.maps[view], xy_px, self.native_size)
        fit = None if self.fits is None else self.fits[view]
        return sampled if fit is None else depth_from_disparity(fit[0] * sampled + fit[1], self.max_depth_m)


def aligned(
    maps: Float[np.ndarray, "V h w"],
    alignment: Alignment,
    lidar: Truth,
    native_size: tuple[int, int],
    max_depth_m: float,
) -> Prediction:
    """A prediction from a subject's maps and, unless they are metric, the LiDAR points of each image that count."""
    if alignment == "metric":
        return Prediction(maps, native_size, max_depth_m)

    def fit(view: int) -> Fit | None:
        points = lidar.views[view]
        if not len(points.depth_m):
            return None
        u = at_native_points(maps[view], points.xy_px, native_size)
        least_squares = alignment == "disparity_least_squares"
        return fit_disparity(u, points.depth_m) if least_squares else (scale_disparity(u, points.depth_m), 0.0)

    return Prediction(maps, native_size, max_depth_m, fits=tuple(map(fit, range(len(maps)))))


@dataclass(frozen=True)
class ViewPair:
    """Truth and prediction at the points of one image that count, in metres."""

    truth_m: Float[np.ndarray, "point"]
    predicted_m: Float[np.ndarray, "point"]


@dataclass(frozen=True)
class Comparison:
    """A prediction at the points of a truth, in metres, not clamped."""

    views: tuple[ViewPair, ...]
    neighbours_m: tuple[tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]] | None, ...]
    """For each pair of overlaps, what the second camera of either predicts at the common points; None: not known."""


def compare(prediction: Prediction, truth: Truth) -> Comparison:
    """Ask for the prediction where the truth is known. A view that it does not know has no points."""
    nothing = ViewPair(np.zeros(0, np.float32), np.zeros(0, np.float32))
    views = tuple(
        ViewPair(points.depth_m, prediction.at(view, points.xy_px)) if prediction.knows(view) else nothing
        for view, points in enumerate(truth.views)
    )
    neighbours = tuple(
        (prediction.at(there.second, there.common_xy_px), prediction.at(back.second, back.common_xy_px))
        if prediction.knows(there.first) and prediction.knows(there.second)
        else None
        for there, back in truth.overlaps
    )
    return Comparison(views, neighbours)
