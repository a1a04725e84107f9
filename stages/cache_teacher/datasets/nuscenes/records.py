"""The tables of nuScenes that rigs are made of, as they are on disk.

The dataclasses mirror the records; what they do not name is dropped. Errors name the table, the record and the field.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, TypeAdapter, ValidationError

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.raw_files import what_it_says
from stages.json_text import BadJsonError, Count, Int64, Number, json_text

LIDAR = "LIDAR_TOP"
CAMERAS = "CAM_"
"""How the names of their channels begin."""
MAX_NORM_ERROR = 1e-3
REMEDY = "extract the metadata again"

_SHORT = reprlib.Repr()
_SHORT.maxstring = 200  # a token is shown whole

R = TypeVar("R", bound="Record")
S = TypeVar("S", bound="Record")


def _rotation(quaternion: tuple[float, ...]) -> tuple[float, ...]:
    if len(quaternion) != 4 or not abs(math.hypot(*quaternion) - 1) <= MAX_NORM_ERROR:
        raise ValueError("expected a unit quaternion w, x, y, z")
    return quaternion


def _position(metres: tuple[float, ...]) -> tuple[float, ...]:
    if len(metres) != 3 or not all(map(math.isfinite, metres)):
        raise ValueError("expected x, y, z in metres")
    return metres


def _intrinsics(rows: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    if rows and ([len(row) for row in rows] != [3, 3, 3] or not all(math.isfinite(x) for row in rows for x in row)):
        raise ValueError("expected 3 × 3 finite numbers")
    return rows


@dataclass(frozen=True, slots=True)
class Record:
    """What every record has."""

    token: str


@dataclass(frozen=True, slots=True)
class Sensor(Record):
    """A sensor that some car has."""

    channel: str
    modality: str


@dataclass(frozen=True, slots=True)
class Placed(Record):
    """Where one frame is in another: a record of ego_pose has the car in the world."""

    rotation: Annotated[tuple[Number, ...], AfterValidator(_rotation)]
    translation: Annotated[tuple[Number, ...], AfterValidator(_position)]


@dataclass(frozen=True, slots=True)
class CalibratedSensor(Placed):
    """A sensor on a car, of which `Placed` says where."""

    sensor_token: str
    camera_intrinsic: Annotated[tuple[tuple[Number, ...], ...], AfterValidator(_intrinsics)]
    """The 3×3 pinhole matrix; empty for a sensor that is no camera."""
    camera_distortion: tuple[Number, ...] | None = None
    """Coefficients of a lens, in tables that have nuImages' form."""


@dataclass(frozen=True, slots=True)
class SceneRecord(Record):
    """A scene, and the first of its keyframes."""

    name: str
    description: str
    nbr_samples: Int64
    first_sample_token: str


@dataclass(frozen=True, slots=True)
class SampleRecord(Record):
    """A keyframe."""

    timestamp: Int64
    scene_token: str
    next: str
    """Empty for the last one of a scene."""


@dataclass(frozen=True, slots=True)
class SampleData(Record):
    """An image or sweep, of a keyframe or between two."""

    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    timestamp: Int64
    is_key_frame: bool
    filename: str
    prev: str
    """Empty for a sensor's first one of a scene."""
    height: Count | None = None
    width: Count | None = None
    """Of an image, in pixels; 0 for a sweep."""


@dataclass(frozen=True)
class Table(Generic[R]):
    """One table: its records by token, in the order of the file."""

    path: Path
    records: Mapping[str, R]

    def follow(self, record: R, field: str, into: Table[S]) -> S:
        """The record of another table that a field names. Raises DatasetError where it is not there."""
        found = into.records.get(getattr(record, field))
        if found is None:
            raise self.wrong(record, field, f"expected the token of a record of {into.path.name}")
        return found

    def wrong(self, record: R, field: str, expected: str) -> DatasetError:
        """That a field of a record is not as expected."""
        return _wrong(self.path, record.token, field, getattr(record, field), expected)


@dataclass(frozen=True)
class Records:
    """The tables, named as their files."""

    sensor: Table[Sensor]
    calibrated_sensor: Table[CalibratedSensor]
    scene: Table[SceneRecord]
    sample: Table[SampleRecord]
    sample_data: Table[SampleData]
    ego_pose: Table[Placed]


TABLE_FILES = tuple(f"{field.name}.json" for field in fields(Records))


def read_records(folder: Path, *, between: str | None = None) -> Records:
    """Read the tables of a version, without what no rig needs: of v1.0-trainval nine tenths.

    Of sample_data, keyframes' images and sweeps are kept and, `between` them, those of the channels that begin so; of
    ego_pose, what these name. Raises DatasetError where a table is missing or damaged.
    """

    def is_needed(record: Mapping[str, Any]) -> bool:
        filename = str(record.get("filename"))
        if "/RADAR_" in filename:
            return False
        return bool(record.get("is_key_frame", True)) or (between is not None and f"/{between}" in filename)

    sensor = _read(folder, "sensor", Sensor)
    calibrated_sensor = _read(folder, "calibrated_sensor", CalibratedSensor)
    scene = _read(folder, "scene", SceneRecord)
    sample = _read(folder, "sample", SampleRecord)
    sample_data = _read(folder, "sample_data", SampleData, is_needed)
    poses = {record.ego_pose_token for record in sample_data.records.values()}
    ego_pose = _read(folder, "ego_pose", Placed, lambda record: record["token"] in poses)
    return Records(sensor, calibrated_sensor, scene, sample, sample_data, ego_pose)


def _read(
    folder: Path, name: str, kind: type[R], needed: Callable[[dict[str, Any]], bool] = lambda _: True
) -> Table[R]:
    """A table. A record that is not needed is dropped as soon as it is parsed, which is most of the work."""
    path, validate = folder / f"{name}.json", TypeAdapter(kind).validate_python

    def kept(pairs: list[tuple[str, Any]]) -> object:
        parsed = dict(pairs)
        if len(parsed) < len(pairs):
            raise _said_twice(path, pairs)
        if not isinstance(parsed.get("token"), str):
            return parsed  # from inside a record; in the list itself it is refused below
        try:
            return validate(parsed) if needed(parsed) else None
        except ValidationError as error:
            raise _invalid(path, parsed["token"], error) from error

    expected = f"expected a table of nuScenes, a list of records with a token each; {REMEDY}"
    try:
        found = json.loads(json_text(path.read_bytes()), object_pairs_hook=kept)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: is missing; {expected}") from error
    except (OSError, ValueError, RecursionError) as error:
        damage = str(error) if isinstance(error, BadJsonError) else f"cannot be read ({what_it_says(error)})"
        raise DatasetError(f"{path}: {damage}; {expected}") from error
    if not isinstance(found, list):
        raise DatasetError(f"{path}: is not a list; {expected}")
    records = [record for record in found if record is not None]
    for record in records:
        if not isinstance(record, kind):
            raise DatasetError(f"{path}: has {_SHORT.repr(record)} in its list; {expected}")
    by_token = {record.token: record for record in records}
    if len(by_token) < len(records):
        twice, _ = Counter(record.token for record in records).most_common(1)[0]
        raise DatasetError(f"{path}: has the record {twice} twice; expected a token of its own for each; {REMEDY}")
    return Table(path, by_token)


def _said_twice(path: Path, pairs: list[tuple[str, Any]]) -> DatasetError:
    key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
    token = dict(pairs).get("token")
    return DatasetError(f"{path}: record {token} has the key {key!r} twice; expected it once; {REMEDY}")


def _invalid(path: Path, token: str, error: ValidationError) -> DatasetError:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return DatasetError(f"{path}: record {token} lacks the field {field}; {REMEDY}")
    expected = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return _wrong(path, token, field, first["input"], expected)


def _wrong(path: Path, token: str, field: str, value: object, expected: str) -> DatasetError:
    return DatasetError(f"{path}: record {token} has the {field} {_SHORT.repr(value)}; {expected}; {REMEDY}")
