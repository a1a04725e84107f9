"""Evaluation protocols as data. The whole definition is written into every result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from cache_schema.errors import ConfigError

Scaling = Literal["none", "median_image", "median_rig"]


class Protocol(BaseModel):
    """How a prediction is compared with LiDAR.

    Ground truth stays at native pixels; the prediction is resized to them bilinearly with half-pixel centres and
    clamped to the range. Means are taken per image, then over the images of a camera, then over the cameras.
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
