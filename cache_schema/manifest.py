"""The manifest: what a cache holds, how it was made, and which parts of it are complete.

It is stored under the key `fsmde` of the root group's attributes. Unknown keys are refused, so that a cache
written by a later version is never half understood.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from cache_schema.layout import MANIFEST_DIGEST_KEY, MANIFEST_KEY

SCHEMA_VERSION: Final = 1

LIDAR_CHUNK_POINTS = 2**15
"""LiDAR points in one chunk: a reader fetches as many chunks as the points of a rig need, not the whole axis."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]


Normalisation = Literal["quantiles", "median", "rank"]
"""How a view's disparity becomes u, see `TargetSpec`."""

RelationOf = Literal["tokens", "deviations"]
"""What a view relation compares: tokens, or their deviations from the mean over all tokens of the rig."""

CacheLocation = Annotated[str, BeforeValidator(str)]
"""A folder, or a URL such as s3://bucket/prefix."""


_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")
_SHA256 = "_sha256"
_LONGEST = 120
"""Characters of a value in a sentence."""


class Record(BaseModel):
    """Base of all that is stored: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TeacherKind(StrEnum):
    """What the numbers of a teacher mean (design: one of three)."""

    DISPARITY_AFFINE_INVARIANT = "disparity_affine_invariant"
    DEPTH_METRIC = "depth_metric"
    BINS = "bins"

    @property
    def metric(self) -> bool:
        """Whether its disparity is one over metres; else it has an unknown scale and shift."""
        return self is not TeacherKind.DISPARITY_AFFINE_INVARIANT


FAR_M: Final = {"ddad": 200.0, "nuscenes": 80.0}
OTHER_FAR_M: Final = 200.0


def far_m(dataset: str) -> float:
    """Depth up to which the field scores a dataset, in metres."""
    return FAR_M.get(dataset, OTHER_FAR_M)


class DatasetIdentity(Record):
    """Which dataset, and the ring of cameras its rigs carry."""

    name: str
    version: str
    cameras: tuple[str, ...] = Field(min_length=1)
    adjacent_pairs: tuple[tuple[int, int], ...] = ()
    native_size: tuple[int, int]
    """Height and width, in pixels, of the raw frames; `intrinsics` and `lidar_uv` refer to them."""

    @property
    def far_m(self) -> float:
        """Depth up to which the field scores the dataset, in metres."""
        return far_m(self.name)

    @model_validator(mode="after")
    def _pairs_name_cameras(self) -> DatasetIdentity:
        for i, j in self.adjacent_pairs:
            if not (0 <= i < len(self.cameras) and 0 <= j < len(self.cameras) and i != j):
                raise ValueError(f"adjacent pair ({i}, {j}) does not name two of {len(self.cameras)} cameras")
        return self


class ImageSpec(Record):
    """How a frame is stored: the whole raw frame, resized without keeping its aspect ratio, no crop.

    `jpeg` re-encodes (or keeps the original file's bytes where its size already is height × width),
    `raw` stores the resized RGB values.
    """

    height: int = Field(default=384, ge=16)
    width: int = Field(default=640, ge=16)
    encoding: Literal["jpeg", "raw"] = "jpeg"
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    resize: Literal["pillow-lanczos"] = "pillow-lanczos"


class BinSpec(Record):
    """Positions of the K bins on the normalised disparity u in [0, 1], and the width of a certain target.

    `power`: u_k = (k/(K − 1))^exponent, finer near u = 0, the far range. `uniform`: u_k = (k + ½)/K.
    """

    count: int = Field(default=64, ge=2, le=255)
    spacing: Literal["uniform", "power"] = "power"
    exponent: float = Field(default=1.5, gt=0)
    sigma_widths: float = Field(default=1.5, gt=0)
    """σ of the target of a teacher without doubt, in widths of the bin it falls into."""


class TargetSpec(Record):
    """How teacher output becomes soft targets, and how those are stored."""

    height: int = Field(ge=1)
    width: int = Field(ge=1)
    bins: BinSpec = BinSpec()
    normalisation: Normalisation = "quantiles"
    """What makes u of a view's disparity, outside the ego mask: the two `quantiles`, which become u = 0 and u = 1; the
    lower one and the `median` of what is nearer than the sky; or the `rank` of each pixel among these, which keeps
    near and far apart but no distances."""
    quantiles: tuple[float, float] = (0.02, 0.98)
    """Quantiles of a view's disparity: its far and its near end."""
    encoding: Literal["moments", "topk", "dense"] = "moments"
    topk: int = Field(default=8, ge=1, le=64)
    token_grid: tuple[int, int] = (6, 10)
    """Rows and columns of tokens per view in `view_relation` and `feature`."""
    relation_of: RelationOf = "tokens"
    """What `view_relation` compares."""
    feature_channels: int = Field(default=0, ge=0)
    """Channels of the tokens in `feature`; 0: they are not stored."""
    test_time_views: int = Field(default=0, ge=0)
    """Test-time views of the teacher of which `disparity_low` and `disparity_span` are stored; 0: they are not."""

    @model_validator(mode="after")
    def _consistent(self) -> TargetSpec:
        low, high = self.quantiles
        if not 0 <= low < high <= 1:
            raise ValueError(f"quantiles {self.quantiles} must satisfy 0 <= low < high <= 1")
        if self.encoding == "topk" and self.topk > self.bins.count:
            raise ValueError(f"topk {self.topk} exceeds the {self.bins.count} bins")
        return self


class TeacherIdentity(Record):
    """Which network spoke: enough to know whether another run would say the same."""

    id: str
    """Hub id, or the name of the local folder."""
    revision: str | None
    """Commit of the hub repository; none for a local folder."""
    weights_sha256: Digest
    architecture: str
    kind: TeacherKind
    processor: dict[str, JsonValue]
    """Settings of the model's own image processor, as used."""
    flip: bool
    scales: tuple[float, ...]
    precision: Literal["float32", "float16", "bfloat16"] = "float32"

    @property
    def test_time_views(self) -> int:
        """How often it looks at a frame: plain at every scale, and mirrored where it does."""
        return len(self.scales) * (2 if self.flip else 1)


class TeacherRecord(Record):
    """One teacher of the cache: who, and what its targets look like."""

    identity: TeacherIdentity
    targets: TargetSpec


class SplitRecord(Record):
    """One split: its size, its identity, and which of its parts are complete."""

    rigs: int = Field(ge=1)
    samples_sha256: Digest
    shard_rigs: int = Field(ge=1)
    """Rigs in one shard, the same for every array of the split."""
    lidar_points: int = Field(ge=1, multiple_of=LIDAR_CHUNK_POINTS)
    """Length of the point axis of `lidar_uv` and `lidar_depth`: room for all cameras of a rig, whole chunks."""
    text_bytes: int = Field(ge=1)
    """Length of the text axis of `scene` and `sample`: the longest name in UTF-8."""
    lidar: bool = True
    """Whether LiDAR was read; else no rig has a point, and only the teacher can teach from them."""
    lidar_sweeps: int = Field(default=1, ge=1)
    """Sweeps of the LiDAR that the points of a rig come from, at most."""
    dense_depth: bool = False
    """Whether the array `dense_depth` is there."""
    selection: dict[str, JsonValue] = {}
    """What chose the samples, where they are not all of the dataset's; the dataset's reader knows what it means. The
    names of those that were left out by name are `skipped`."""
    scene_conditions: dict[str, tuple[str, ...]] = {}
    """By scene, such as `night` and `rain`, where the dataset says so: what evaluation is broken down by."""
    ego_masks: int = Field(default=0, ge=0)
    """Number of ego masks; this and their digest are filled in by the writer."""
    ego_masks_sha256: Digest | None = None
    frames_complete: bool = False
    teachers_complete: tuple[Name, ...] = ()


class Manifest(Record):
    """Everything about a cache that is not an array."""

    schema_version: Literal[1] = SCHEMA_VERSION
    code_version: str
    dataset: DatasetIdentity
    image: ImageSpec
    splits: dict[Name, SplitRecord] = {}
    teachers: dict[Name, TeacherRecord] = {}


def samples_digest(samples: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of the ordered (scene, sample) list: the identity of a split."""
    digest = hashlib.sha256()
    for scene, sample in samples:
        digest.update(f"{scene}\x00{sample}\n".encode())
    return digest.hexdigest()


def record_digest(*records: Record) -> str:
    """SHA-256 of records in canonical JSON; what the journal calls the configuration of a shard."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(record.model_dump_json().encode() + b"\n")
    return digest.hexdigest()


def manifest_attributes(manifest: Manifest) -> dict[str, JsonValue]:
    """The manifest and its digest, as they are stored."""
    stored = manifest.model_dump(mode="json")
    return {MANIFEST_KEY: stored, MANIFEST_DIGEST_KEY: stored_digest(stored)}


def stored_digest(stored: JsonValue) -> str:
    """SHA-256 of a stored manifest: of what is stored, not of what a later version of the model makes of it."""
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def differing_fields(
    stored: BaseModel, asked: BaseModel, skip: Sequence[str] = (), words: tuple[str, str] = ("stored", "asked")
) -> list[str]:
    """Say, one line per field, where two records differ: `image.height: 384 stored, 192 asked`.

    Both have the fields of `stored`, but for those to skip.
    """
    lines = []
    for field in type(stored).model_fields:
        if field in skip:
            continue
        a, b = getattr(stored, field), getattr(asked, field)
        if a == b:
            continue
        if isinstance(a, BaseModel) and isinstance(b, BaseModel):
            lines += [f"{field}.{line}" for line in differing_fields(a, b, words=words)]
        elif field.endswith(_SHA256) and a and b:
            lines.append(f"{field.removesuffix(_SHA256)}: not the same ({said(a)} {words[0]}, {said(b)} {words[1]})")
        else:
            lines.append(f"{field}: {said(a)} {words[0]}, {said(b)} {words[1]}")
    return lines


def said(value: object) -> str:
    """A value in a sentence; a whole group of settings only as being there, digests by their beginning."""
    if isinstance(value, BaseModel):
        return "some"
    said = "none" if value is None else _DIGEST.sub(r"\1…", repr(value))
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def no_ego_masks(image: ImageSpec) -> np.ndarray:
    """The stack of ego masks of a dataset without any: (0, height, width) uint8."""
    return np.zeros((0, image.height, image.width), np.uint8)


def ego_masks_digest(masks: np.ndarray) -> str:
    """SHA-256 of a stack of ego masks (mask, height, width) uint8."""
    return hashlib.sha256(np.ascontiguousarray(masks).tobytes()).hexdigest()
