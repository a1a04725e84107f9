"""The two JSON files that describe a dataset of one's own: dataset.json, and scene.json in the folder of each scene."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.raw_files import read_json
from stages.explain import explain
from stages.json_text import Int64

DATASET_FILE = "dataset.json"
SCENE_FILE = "scene.json"
GUIDE = "docs/folder.md describes it"
SHOWN = 3
"""Mistakes that are named at once."""
TOLERANCE = 1e-3
"""How far a matrix may be from a rotation."""

_LENS = re.compile(r"(lens_?|cam(era)?_?)?(dist.*|undist.*|model|type|skew|fov|xi|alpha|fisheye.*|[kps]\d|d)")
"""Keys by which people describe a lens."""

M = TypeVar("M", bound="Described")


def _intrinsics(rows: list[list[float]]) -> list[list[float]]:
    K = _finite(rows, 3)
    if not (K[0, 0] > 0 and K[1, 1] > 0 and K[0, 1] == K[1, 0] == 0 and K[2].tolist() == [0, 0, 1]):
        raise ValueError("expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with focal lengths above 0, in pixels")
    return rows


def _placement(rows: list[list[float]]) -> list[list[float]]:
    matrix = _finite(rows, 4)
    if matrix[3].tolist() != [0, 0, 0, 1]:
        transposed = "; it looks transposed" if matrix[:, 3].tolist() == [0, 0, 0, 1] else ""
        raise ValueError(f"expected the last row [0, 0, 0, 1] and the translation in the last column{transposed}")
    R = matrix[:3, :3]
    if not np.allclose(R @ R.T, np.eye(3), atol=TOLERANCE):
        raise ValueError(f"expected a rotation to within {TOLERANCE:g}: rows of length 1, at right angles")
    if np.linalg.det(R) < 0:
        raise ValueError("expected a rotation, found a reflection: is an axis turned round?")
    return rows


def _finite(rows: list[list[float]], size: int) -> np.ndarray:
    if [len(row) for row in rows] != [size] * size or not np.isfinite(rows).all():
        raise ValueError(f"expected {size} rows of {size} finite numbers")
    return np.array(rows)


def _left_out(value: int | None) -> bool:
    """Caches know a description by a digest of it: what is not given must not change that."""
    return value is None


Intrinsics = Annotated[list[list[float]], AfterValidator(_intrinsics)]
Placement = Annotated[list[list[float]], AfterValidator(_placement)]
"""A 4×4 matrix, row by row: coordinates in the first frame from those in the second, in metres."""
Name = Annotated[str, Field(min_length=1, max_length=128)]


class Described(BaseModel):
    """Base of what is described: unknown keys are refused, and text where numbers belong."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Camera(Described):
    """One camera: a pinhole without distortion."""

    intrinsics: Intrinsics
    car_from_camera: Placement
    """A camera's frame is x right, y down, z forward; the car's x forward, y left, z up."""
    width: int | None = Field(default=None, gt=0, exclude_if=_left_out)
    height: int | None = Field(default=None, gt=0, exclude_if=_left_out)
    """Of the images that the intrinsics are for, in pixels; images of another size are refused."""

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Height and width, if they are given."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    @model_validator(mode="before")
    @classmethod
    def _is_a_pinhole(cls, given: Any) -> Any:
        if isinstance(given, dict) and (lens := [key for key in given if _LENS.fullmatch(key.lower())]):
            raise ValueError(f"says {', '.join(lens)}; cameras are pinholes: undistort the images, and leave it out")
        return given

    @model_validator(mode="after")
    def _both_or_none(self) -> Camera:
        if (self.width is None) != (self.height is None):
            raise ValueError("has one of width and height; expected both or none")
        return self


class Lidar(Described):
    """The LiDAR."""

    car_from_lidar: Placement
    bin_columns: int = Field(default=4, ge=3, le=1000)
    """Numbers of a point in .bin files, float32 each, x, y and z first."""


class Rig(Described):
    """What all sensors saw at one time. Files are relative to the scene's folder."""

    sample: Name
    timestamp: Int64 = 0
    """Microseconds; any origin."""
    images: dict[str, str]
    """By camera."""
    points: str | None = None
    """The point cloud, in the LiDAR's frame."""
    world_from_car: Placement | None = None
    """Where the car was when the LiDAR looked; left out: at the origin."""
    world_from_car_at_image: dict[str, Placement] = {}
    """By camera, where the car was when it looked, for cameras that looked at another time."""

    @model_validator(mode="after")
    def _lidar_has_a_pose_too(self) -> Rig:
        if self.world_from_car_at_image and self.world_from_car is None:
            raise ValueError(
                "has world_from_car_at_image without world_from_car; expected where the car was when the LiDAR looked"
            )
        return self


class Scene(Described):
    """scene.json: rigs in order."""

    conditions: tuple[Name, ...] = ()
    """Such as night and rain; evaluation is broken down by them."""
    cameras: dict[Name, Camera] | None = None
    """Where the car was calibrated anew: all cameras, instead of those of dataset.json."""
    lidar: Lidar | None = None
    rigs: list[Rig] = Field(min_length=1)


class Dataset(Described):
    """dataset.json."""

    name: Name
    version: Name
    cameras: dict[Name, Camera] = Field(min_length=1)
    lidar: Lidar | None = None
    splits: dict[Name, Annotated[list[Name], Field(min_length=1)]] = Field(min_length=1)
    """Folders of scenes, by split."""


def read_dataset(root: Path) -> Dataset:
    """Read dataset.json. Raises DatasetError."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected one that holds {DATASET_FILE}")
    if not (root / DATASET_FILE).is_file():
        raise DatasetError(f"{root}: holds no {DATASET_FILE}; expected a dataset of your own; {GUIDE}")
    return _read(root / DATASET_FILE, Dataset)


def read_scene(folder: Path) -> Scene:
    """Read the scene.json of a scene. Raises DatasetError."""
    return _read(folder / SCENE_FILE, Scene)


def _read(path: Path, kind: type[M]) -> M:
    try:
        return kind.model_validate_json(read_json(path))
    except ValidationError as error:
        raise DatasetError(f"{path}: is not as expected: {explain(kind, error, SHOWN)}; {GUIDE}") from error
