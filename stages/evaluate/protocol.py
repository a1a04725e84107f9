"""Evaluation protocols as data. The whole definition is written into every result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from cache_schema import DatasetIdentity
from cache_schema.errors import ConfigError

Scaling = Literal["none", "median_image", "median_rig"]
TruthName = Literal["lidar", "dense"]
"""LiDAR points, or depth at every pixel, which only a simulated world has."""


class Protocol(BaseModel):
    """How a prediction is compared with LiDAR, and with dense depth where there is any.

    The prediction is resized bilinearly with half-pixel centres to the pixels of the ground truth, and clamped to the
    range. Means are taken per image, then over the images of a camera, then over the cameras. Medians
    are those of the truth a score is computed against. Cross-view figures: metrics over those points of an image that
    lie in a neighbour's too, and how far the two cameras' predictions for one place in the world are apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str
    ground_truth: Literal["native", "network"]
    """`native`: at the pixels of the raw frames. `network`: a point of native pixel i moves to pixel ⌊i · out/in⌋ of
    the cached images, where the last one stays, row by row."""
    range_m: tuple[float, float]
    """Only points with range_m[0] < depth < range_m[1] count."""
    ego_mask: bool
    """Whether points on the own car are left out."""
    scalings: tuple[Scaling, ...]
    same_surface: float = 0.05
    """Dense truth only: two cameras see the same where the depth of a point differs from what the neighbour sees in
    its place by at most this part of it. LiDAR cannot tell, so a point behind something counts."""


PROTOCOLS = ("native", "network")


def protocol(name: str, dataset: DatasetIdentity) -> Protocol:
    """A protocol by name, with the range the field uses for the dataset. Raises ConfigError on an unknown name."""
    if name not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    if name == "network":
        return Protocol(
            name=name,
            source="VFDepth (CVPR 2023)",
            ground_truth="network",
            range_m=(0.0, dataset.far_m),
            ego_mask=dataset.name != "nuscenes",
            scalings=("none", "median_image", "median_rig"),
        )
    return Protocol(
        name=name,
        source="SurroundDepth (CoRL 2022), without flipping",
        ground_truth="native",
        range_m=(0.1, dataset.far_m),
        ego_mask=False,
        scalings=("none", "median_image", "median_rig"),
    )
