"""Evaluation protocols as data. The whole definition is written into every result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from cache_schema.errors import ConfigError

Scaling = Literal["none", "median_image", "median_rig"]
TruthName = Literal["lidar", "dense"]
"""LiDAR points, or depth at every pixel, which only a simulated world has."""


class Protocol(BaseModel):
    """How a prediction is compared with LiDAR, and with dense depth where there is any.

    Ground truth stays at native pixels; the prediction is resized to them bilinearly with half-pixel centres and
    clamped to the range. Means are taken per image, then over the images of a camera, then over the cameras. Medians
    are those of the truth a score is computed against. Cross-view figures: metrics over those points of an image that
    lie in a neighbour's too, and how far the two cameras' predictions for one place in the world are apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str
    ground_truth: Literal["native"]
    range_m: tuple[float, float]
    """Only points with range_m[0] < depth < range_m[1] count."""
    ego_mask: bool
    """Whether points on the own car are left out."""
    scalings: tuple[Scaling, ...]
    same_surface: float = 0.05
    """Dense truth only: two cameras see the same where the depth of a point differs from what the neighbour sees in
    its place by at most this part of it. LiDAR cannot tell, so a point behind something counts."""


_RANGES_M = {"ddad": (0.1, 200.0), "nuscenes": (0.1, 80.0)}
_OTHER_RANGE_M = (0.1, 200.0)

PROTOCOLS = ("native",)


def protocol(name: str, dataset: str) -> Protocol:
    """A protocol by name, with the range the field uses for the dataset. Raises ConfigError on an unknown name."""
    if name not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    return Protocol(
        name="native",
        source="SurroundDepth (CoRL 2022), without flipping",
        ground_truth="native",
        range_m=_RANGES_M.get(dataset, _OTHER_RANGE_M),
        ego_mask=False,
        scalings=("none", "median_image", "median_rig"),
    )
