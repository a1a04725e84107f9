"""Evaluation protocols as data. The whole definition is written into every result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cache_schema import DatasetIdentity
from cache_schema.errors import ConfigError

Scaling = Literal["none", "median_image", "median_rig"]
SCALED: dict[str, str] = {"median_image": "median per image", "median_rig": "median per rig"}
"""What people call a scaling."""
TruthName = Literal["lidar", "dense"]
"""LiDAR points, or depth at every pixel, which only a simulated world has."""
RangeM = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]


class ProtocolSettings(BaseModel):
    """A protocol of one's own: what differs from the one it is like. What is not given is as there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    """Appears in the names of files."""
    like: Literal["native", "network"] = "native"
    source: str = ""
    """Whose it is."""
    ground_truth: Literal["native", "network"] | None = None
    range_m: RangeM | None = None
    clamp_m: RangeM | None = None
    """The range, where that is given and this is not."""
    ego_mask: bool | None = None
    scalings: tuple[Scaling, ...] | None = None
    same_surface: float | None = None
    depth_ranges_m: tuple[RangeM, ...] | None = None
    border: float | None = None


class Protocol(BaseModel):
    """How a prediction is compared with LiDAR, and with dense depth where there is any.

    The prediction is resized bilinearly with half-pixel centres to the pixels of the ground truth, scaled, and clamped.
    Means are taken per image, then over the images of a camera, then over the cameras; no image is left out but those
    without a point that counts. Medians are those of the truth a score is computed against and of the prediction
    before it is clamped; a prediction whose median is not above 0 is not scaled. A prediction that is not finite is
    refused. Cross-view figures: metrics over those points of an image that lie in a neighbour's too, and how far the
    two cameras' predictions for one place in the world are apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str
    ground_truth: Literal["native", "network"]
    """`native`: at the pixels of the raw frames. `network`: a point of native pixel i moves to pixel ⌊i · out/in⌋ of
    the cached images, where the last one stays, row by row."""
    range_m: RangeM
    """Only points with range_m[0] < depth < range_m[1] count."""
    clamp_m: RangeM
    """A prediction below clamp_m[0], also 0 or negative, counts as that, one above clamp_m[1] as that."""
    ego_mask: bool
    """Whether points on the own car are left out."""
    scalings: Annotated[tuple[Scaling, ...], Field(min_length=1)] = ("none", "median_image", "median_rig")
    """`median_image`: times median(truth) / median(prediction) of each image; `median_rig`: of all images of a rig."""
    same_surface: Annotated[float, Field(gt=0)] = 0.05
    """Dense truth only: two cameras see the same where the depth of a point differs from what the neighbour sees in
    its place by at most this part of it. LiDAR cannot tell, so a point behind something counts."""
    depth_ranges_m: tuple[RangeM, ...] = ((0.0, 10.0), (10.0, 30.0), (30.0, 60.0), (60.0, 100.0), (100.0, 200.0))
    """Metrics are also taken by the depth of the truth: low < depth ≤ high."""
    border: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """And for points nearer to the image's border than this part of its width or height, and those that are not."""

    @property
    def in_words(self) -> str:
        """What it compares, in one line."""
        pixels = "raw" if self.ground_truth == "native" else "network's"
        own_car = "without the own car" if self.ego_mask else "own car too"
        return f"{self.name}: {pixels} pixels, {self.range_m[0]:g} < depth < {self.range_m[1]:g} m, {own_car}"

    @model_validator(mode="after")
    def _ranges_rise(self) -> Protocol:
        for name, (low, high) in (("range_m", self.range_m), ("clamp_m", self.clamp_m)):
            if low >= high:
                raise ValueError(f"{name} is {low:g} to {high:g}; expected the lower end first")
        if any(low >= high for low, high in self.depth_ranges_m):
            raise ValueError("depth_ranges_m has a range that ends before it begins")
        if self.clamp_m[0] <= 0:
            raise ValueError("clamp_m begins at 0; expected more, for the logarithm of a depth of 0 is not finite")
        if "none" not in self.scalings:
            raise ValueError('scalings lack "none"; expected it, for cameras are compared unscaled')
        return self


PROTOCOLS = ("native", "network")


def asked_by(name: str) -> str:
    """What a person gives to ask for a protocol by this name."""
    return name if name in PROTOCOLS else "FILE.yaml"


def protocol(asked: str | ProtocolSettings, dataset: DatasetIdentity) -> Protocol:
    """A protocol by its name or settings, with the range the field uses for the dataset.

    Raises ConfigError on an unknown name and on settings that contradict each other.
    """
    if isinstance(asked, ProtocolSettings):
        return _like(asked, protocol(asked.like, dataset))
    if asked == "native":
        return Protocol(
            name=asked,
            source="SurroundDepth (CoRL 2022), without flipping",
            ground_truth="native",
            range_m=(0.1, dataset.far_m),
            clamp_m=(0.1, dataset.far_m),
            ego_mask=False,
        )
    if asked == "network":
        return Protocol(
            name=asked,
            source="VFDepth (CVPR 2023)",
            ground_truth="network",
            range_m=(0.0, dataset.far_m),
            clamp_m=(0.001, dataset.far_m),
            ego_mask=dataset.name != "nuscenes",
        )
    raise ConfigError(
        f"unknown protocol {asked!r}; there are: {', '.join(PROTOCOLS)}, and your own as a file that ends in .yaml"
    )


def _like(settings: ProtocolSettings, base: Protocol) -> Protocol:
    if settings.name in PROTOCOLS:
        raise ConfigError(f"a protocol of your own is called {settings.name}; expected another name than that one's")
    given = settings.model_dump(exclude={"like"}, exclude_none=True)
    if settings.range_m is not None and settings.clamp_m is None:
        given["clamp_m"] = (max(settings.range_m[0], base.clamp_m[0]), settings.range_m[1])
    given["source"] = settings.source or f"like {base.name}"
    try:
        return Protocol.model_validate(base.model_dump() | given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or settings.name}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"protocol {settings.name} is not valid ({wrong})") from error
