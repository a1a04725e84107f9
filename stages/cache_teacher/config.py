"""Settings of stage 1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cache_schema import BinSpec, CacheLocation, ImageSpec, TeacherKind
from cache_schema.manifest import Normalisation, RelationOf


class Settings(BaseModel):
    """Base of the settings: unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TeacherSettings(Settings):
    """Which teacher runs, and how it looks at a frame."""

    id: str
    """Hub id, or a local folder written by `save_pretrained`."""
    name: str | None = None
    """Name in the cache; derived from the id if not given."""
    revision: str | None = None
    """Commit or tag of the hub repository."""
    kind: TeacherKind | None = None
    """What its numbers mean, where that cannot be told from its configuration."""
    flip: bool = True
    """Look at the mirrored frame too: doubles the cost, and tells where the teacher is unsure."""
    scales: tuple[Annotated[float, Field(gt=0, le=8)], ...] = Field(default=(1.0,), min_length=1)
    """Test-time scales of the teacher's own input size."""
    precision: Literal["float32", "float16", "bfloat16"] = "float32"

    @property
    def called(self) -> str:
        """Its name in the cache, or the last part of its hub id or folder in characters that a path may have."""
        last = self.id.rstrip("/").rsplit("/", 1)[-1]
        return self.name or re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._").lower() or "teacher"


class TargetSettings(Settings):
    """Shape and encoding of the soft targets."""

    grid_divisor: int = Field(default=4, ge=1)
    """The target grid is the stored image divided by this."""
    bins: BinSpec = BinSpec()
    normalisation: Normalisation = "median"
    quantiles: tuple[float, float] = (0.02, 0.98)
    encoding: Literal["moments", "topk", "dense"] | None = None
    """`moments` for teachers with one value per pixel, `topk` for those with a bin head, unless given."""
    topk: int = Field(default=8, ge=1, le=64)
    token_grid: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (6, 10)
    relation_of: RelationOf = "deviations"
    """What the view relation compares: tokens, or how each deviates from the mean over all tokens of the rig."""
    features: bool = False
    """Store the teacher's tokens too, for feature regression: more bytes than all other targets together."""


DatasetName = Literal["ddad", "nuscenes", "folder"]
"""Formats of raw data that stage 1 reads."""

NUSCENES_HEIGHT = 352
"""Of images of nuScenes, 640 wide, unless another is given: SurroundDepth's and VFDepth's."""


class NuscenesSettings(Settings):
    """What of nuScenes is used."""

    version: str | None = None
    """Folder of the tables, such as v1.0-trainval; may be left out where there is one."""
    frames: Literal["keyframes", "sweeps"] = "keyframes"
    """Rigs are keyframes, 2 a second, or what the cameras saw between them, 10 a second and without LiDAR: of every
    camera the image nearest in time to the first one's."""
    spread_s: float = Field(default=0.1, gt=0)
    """Between keyframes, leave out rigs whose images were taken farther apart than this."""
    static_below_m: float | None = Field(default=None, gt=0)
    """Leave out frames to train from where the car moves less than this from the one before or to the next."""
    tokens: Path | None = None
    """Text file of the sample tokens to use, one a line; all if not given."""
    sweeps: int = Field(default=1, ge=1)
    """LiDAR sweeps of which points to train from are put together: the keyframe's and those before it."""

    @property
    def between_keyframes(self) -> bool:
        """Whether rigs are what lies between keyframes."""
        return self.frames == "sweeps"

    @model_validator(mode="after")
    def _tokens_of_keyframes(self) -> NuscenesSettings:
        if self.between_keyframes and self.tokens is not None:
            raise ValueError("tokens name keyframes; leave them out where frames is sweeps, what lies between")
        return self


class CacheTeacherConfig(Settings):
    """Everything stage 1 needs to know."""

    dataset: DatasetName
    root: Path
    nuscenes: NuscenesSettings = NuscenesSettings()
    cache: CacheLocation = "zarr"
    splits: tuple[str, ...] | None = None
    """Splits to cache; all that the dataset has if not given."""
    teacher: TeacherSettings
    image: ImageSpec = ImageSpec()
    targets: TargetSettings = TargetSettings()
    ego_masks: Path | None = None
    """Folder of ego-vehicle masks in VFDepth's layout."""
    on_missing: Literal["skip", "fail"] = "skip"
    """What to do with a sample that lacks a camera, the LiDAR or one of its files."""
    skip: tuple[str, ...] = ()
    """Samples to leave out, as scene/sample, and whole scenes."""
    skip_file: Path | None = None
    """Text file of more of them, one a line."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first rigs of every split."""
    shard_rigs: int = Field(default=16, ge=1)
    """Rigs in one shard: what is written, checked, and lost by an interruption."""
    lidar_points: int | None = Field(default=None, ge=1)
    """Room for LiDAR points per rig, over all cameras; judged from the size of the sweeps if not given."""
    lidar: bool = True
    """Whether LiDAR is read; without, rigs need none, and only the teacher can teach from them."""
    dense_depth: bool | None = None
    """Whether dense depth is stored, for evaluation; where the dataset has it if not given."""
    overwrite: bool = False
    """Erase what the cache holds under the same name where it was made with other settings."""
    device: str = "auto"
    workers: int | None = Field(default=None, ge=1)
    """Processes on this machine, one per GPU where there are GPUs; none: this process does the work itself."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, whose workers do the work."""
    readers: int | None = Field(default=None, ge=1)
    """Threads per process that read and decode frames while the teacher looks; half the cores if not given."""

    @model_validator(mode="before")
    @classmethod
    def _usual_size(cls, given: Any) -> Any:
        """The image size that the field uses for the dataset, where none is given."""
        image = given.get("image", {}) if isinstance(given, dict) else None
        if isinstance(image, dict) and given.get("dataset") == "nuscenes":
            return {**given, "image": {"height": NUSCENES_HEIGHT, **image}}
        return given

    @model_validator(mode="after")
    def _some_grid(self) -> CacheTeacherConfig:
        if self.targets.grid_divisor > min(self.image.height, self.image.width):
            raise ValueError(
                f"targets.grid_divisor {self.targets.grid_divisor} leaves nothing of images of {self.image.width} × "
                f"{self.image.height}; expected a target grid of several cells, such as 4 gives"
            )
        return self

    @model_validator(mode="after")
    def _no_lidar_between_keyframes(self) -> CacheTeacherConfig:
        if self.nuscenes.between_keyframes and self.lidar:
            raise ValueError(
                "what lies between keyframes teaches without LiDAR; pass --without-lidar with --frames sweeps"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_workers(self) -> CacheTeacherConfig:
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("give workers or scheduler, not both: a Dask cluster brings its own workers")
        return self
