"""DGP v1 JSON: as much of the dataset, scene and calibration files as a reader of rigs needs.

The format is protobuf's JSON form, so a number that is zero may be left out. The dataclasses in the first
half mirror the files; what they do not name is skipped unread.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.raw_files import REMEDY, read_json
from stages.json_text import Count, Number

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEPTH = "6"
"""Key of a depth map among an image's annotations: AnnotationType DEPTH of DGP's annotations.proto."""

_SPLIT_NAMES = {"0": "train", "1": "val", "2": "test"}


@dataclass(frozen=True, slots=True)
class Rotation:
    """A unit quaternion."""

    qw: Number = 0.0
    qx: Number = 0.0
    qy: Number = 0.0
    qz: Number = 0.0


@dataclass(frozen=True, slots=True)
class Translation:
    """A position in metres."""

    x: Number = 0.0
    y: Number = 0.0
    z: Number = 0.0


@dataclass(frozen=True, slots=True)
class Pose:
    """Maps points of a sensor's frame to the world (in a scene) or to the rig (in a calibration)."""

    rotation: Rotation = field(default_factory=Rotation)
    translation: Translation = field(default_factory=Translation)


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A pinhole camera, in pixels; all zero for a sensor that is none."""

    fx: Number = 0.0
    fy: Number = 0.0
    cx: Number = 0.0
    cy: Number = 0.0
    beyond_pinhole: tuple[str, ...] = ()
    """Names of what else the file says of it and is not 0: `skew`, `fov` of a fisheye, `k1` … of a distortion."""


_PINHOLE = ("fx", "fy", "cx", "cy")


def _beyond_pinhole(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    beyond = [name for name, value in given.items() if name not in _PINHOLE and value]
    return {name: given[name] for name in _PINHOLE if name in given} | {"beyond_pinhole": beyond}


@dataclass(frozen=True, slots=True)
class _SensorFile:
    filename: str
    pose: Pose
    annotations: dict[str, str] = field(default_factory=dict)
    height: Count | None = None
    width: Count | None = None


@dataclass(frozen=True, slots=True)
class _DatumValue:
    image: _SensorFile | None = None
    point_cloud: _SensorFile | None = None


@dataclass(frozen=True, slots=True)
class _DatumId:
    name: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class _Datum:
    key: str
    id: _DatumId
    datum: _DatumValue


@dataclass(frozen=True, slots=True)
class _Sample:
    calibration_key: str
    datum_keys: list[str]


@dataclass(frozen=True, slots=True)
class _SceneFile:
    data: list[_Datum]
    samples: list[_Sample]


@dataclass(frozen=True, slots=True)
class _CalibrationFile:
    names: list[str]
    intrinsics: list[Annotated[Intrinsics, BeforeValidator(_beyond_pinhole)]]
    extrinsics: list[Pose]


@dataclass(frozen=True, slots=True)
class _Metadata:
    version: str = "unknown"


@dataclass(frozen=True, slots=True)
class _SceneList:
    filenames: list[str]


@dataclass(frozen=True, slots=True)
class _DatasetFile:
    scene_splits: dict[str, _SceneList]
    metadata: _Metadata = field(default_factory=_Metadata)


_DATASET_FILE = TypeAdapter(_DatasetFile)
_SCENE_FILE = TypeAdapter(_SceneFile)
_CALIBRATION_FILE = TypeAdapter(_CalibrationFile)


@dataclass(frozen=True, slots=True)
class SceneSplits:
    """A dataset file: its version, and for each split the scene files relative to the dataset file."""

    version: str
    scene_files: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One image or sweep: its file relative to the scene's folder, the sensor's pose and time."""

    filename: str
    pose: Pose
    timestamp: str
    is_image: bool
    depth_filename: str | None
    """File of the image's dense depth, if it has one."""
    size_hw: tuple[int, int] | None
    """Height and width of the image, if the file says them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the sensors measured at one instant, by the sensor's name."""

    calibration_key: str
    sensors: Mapping[str, Measurement]


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene file; samples by name (their index in the scene, six digits), in order."""

    path: Path
    samples: Mapping[str, Sample]


@dataclass(frozen=True, slots=True)
class Calibration:
    """One calibration file, by the sensor's name; the cameras are the sensors that have a focal length."""

    path: Path
    intrinsics: Mapping[str, Intrinsics]
    rig_from_sensor: Mapping[str, Pose]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of the cameras, in the file's order."""
        return tuple(name for name, camera in self.intrinsics.items() if camera.fx > 0 and camera.fy > 0)


def read_scene_splits(path: Path) -> SceneSplits:
    """Read a dataset file such as ddad.json. Raises DatasetError."""
    file = _parse(path, _DATASET_FILE.validate_json)
    scene_files = {
        name: tuple(file.scene_splits[number].filenames)
        for number, name in _SPLIT_NAMES.items()
        if number in file.scene_splits
    }
    return SceneSplits(version=file.metadata.version, scene_files=scene_files)


def read_scene(path: Path) -> Scene:
    """Read a scene file. A datum that a sample names but the file lacks is left out. Raises DatasetError."""
    scene = _parse(path, _SCENE_FILE.validate_json)
    _refuse_doubles(path, "datum key", [datum.key for datum in scene.data])
    measured = {
        datum.key: (
            datum.id.name,
            Measurement(
                file.filename,
                file.pose,
                datum.id.timestamp,
                is_image=datum.datum.image is not None,
                depth_filename=file.annotations.get(DEPTH),
                size_hw=(file.height, file.width) if file.height and file.width else None,
            ),
        )
        for datum in scene.data
        if (file := datum.datum.image or datum.datum.point_cloud) is not None
    }
    samples = {
        f"{index:06d}": Sample(
            calibration_key=sample.calibration_key,
            sensors=dict(measured[key] for key in sample.datum_keys if key in measured),
        )
        for index, sample in enumerate(scene.samples)
    }
    return Scene(path=path, samples=samples)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file. Raises DatasetError."""
    file = _parse(path, _CALIBRATION_FILE.validate_json)
    counts = len(file.names), len(file.intrinsics), len(file.extrinsics)
    if len(set(counts)) != 1:
        raise DatasetError(
            f"{path}: has {counts[0]} names, {counts[1]} intrinsics and {counts[2]} extrinsics; "
            f"expected as many of each; {REMEDY}"
        )
    _refuse_doubles(path, "sensor", file.names)
    return Calibration(
        path=path,
        intrinsics=dict(zip(file.names, file.intrinsics, strict=True)),
        rig_from_sensor=dict(zip(file.names, file.extrinsics, strict=True)),
    )


def microseconds(timestamp: str, path: Path) -> int:
    """Whole microseconds from 1970-01-01 UTC to an RFC 3339 time, as protobuf counts them.

    Raises DatasetError naming `path`, the file that holds the timestamp.
    """
    try:
        since_epoch = datetime.fromisoformat(timestamp) - _EPOCH
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"{path}: has the timestamp {timestamp!r}; expected one like 2019-05-15T00:38:58.203752Z; {REMEDY}"
        ) from error
    return since_epoch // timedelta(microseconds=1)


def _refuse_doubles(path: Path, what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice, _ = Counter(names).most_common(1)[0]
        raise DatasetError(f"{path}: has the {what} {twice} twice; expected it once; {REMEDY}")


def _parse(path: Path, validate: Callable[[str], T]) -> T:
    try:
        return validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        got = f" (got {reprlib.repr(first['input'])})" if place and first["type"] != "missing" else ""
        found = f"{place}: {said}{got}" if place else said
        raise DatasetError(f"{path}: is not a DGP v1 file as expected ({found}); {REMEDY}") from error
