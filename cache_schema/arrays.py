"""The arrays of a cache in one table: name, axes, type, unit, fill value, chunking, compression.

The table in docs/cache.md is generated from this one (`markdown()`), and a test compares
them. Fill values are sentinels that no written element takes, so that a chunk that was never written cannot
pass for data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cache_schema.manifest import LIDAR_CHUNK_POINTS, DatasetIdentity, ImageSpec, SplitRecord, TargetSpec

IMAGE_CHUNK_BYTES = 2**19
"""Bytes in one chunk: a reader fetches as many chunks as the files of a rig need, not what is behind them."""

Compression = Literal["zstd", "bitshuffle", "shuffle", "shuffle-lz4"]
"""zstd alone, or after blosc has gathered the equal bits, or bytes, of a chunk's values; or lz4 instead of zstd."""


@dataclass(frozen=True)
class ArraySpec:
    """One array. Axis sizes come from `axis_sizes`; the first axis is `rig` unless the array has none.

    `per_rig` chunks hold one rig each, many in a shard; the other arrays are small and have one chunk per
    shard. `chunk_length` splits the last axis, where rigs fill it to different lengths.
    """

    name: str
    axes: tuple[str, ...]
    dtype: str
    fill: int | float
    unit: str
    description: str
    per_rig: bool = False
    compression: Compression = "bitshuffle"
    chunk_length: int | None = None

    @property
    def ragged(self) -> bool:
        """Whether rigs fill it to different lengths; then chunks behind a rig's end are not stored."""
        return self.chunk_length is not None

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Shape of the array for the given axis sizes."""
        return tuple(sizes[axis] for axis in self.axes)


FRAME_ARRAYS = (
    ArraySpec(
        "image", ("rig", "byte"), "uint8", 0, "byte",
        "JPEG files of the cameras, one after the other in ring order, then zeros; their lengths are in image_length",
        per_rig=True, compression="zstd", chunk_length=IMAGE_CHUNK_BYTES,
    ),
    ArraySpec("image_length", ("rig", "camera"), "uint32", 0, "byte", "length of the JPEG file"),
    ArraySpec(
        "lidar_uv", ("rig", "uv", "point"), "uint16", 65535, "px",
        "pixel (u right, v down) of each LiDAR point in the native image of its camera: the cameras' points one after "
        "the other in ring order, one point per pixel, ordered by (v, u)",
        per_rig=True, compression="shuffle-lz4", chunk_length=LIDAR_CHUNK_POINTS,
    ),
    ArraySpec(
        "lidar_depth", ("rig", "point"), "float32", math.nan, "m",
        "depth of each LiDAR point: z in the frame of its camera; NaN beyond the last point",
        per_rig=True, compression="shuffle-lz4", chunk_length=LIDAR_CHUNK_POINTS,
    ),
    ArraySpec("lidar_count", ("rig", "camera"), "int32", -1, "1", "number of LiDAR points the camera sees"),
    ArraySpec(
        "intrinsics", ("rig", "camera", "k_row", "k_column"), "float32", math.nan, "px",
        "pinhole matrix K of the native image",
    ),
    ArraySpec(
        "rig_from_camera", ("rig", "camera", "row", "column"), "float64", math.nan, "m",
        "pose of the camera in the rig (vehicle) frame, from calibration",
    ),
    ArraySpec(
        "world_from_camera", ("rig", "camera", "row", "column"), "float64", math.nan, "m",
        "pose of the camera in the world when its image was taken",
    ),
    ArraySpec(
        "world_from_rig", ("rig", "row", "column"), "float64", math.nan, "m",
        "pose of the rig in the world when the LiDAR sweep was taken",
    ),
    ArraySpec(
        "timestamp", ("rig",), "int64", -(2**63), "1",
        "the dataset's own timestamp of the LiDAR sweep: opaque, may repeat, not an identity",
    ),
    ArraySpec("scene", ("rig", "text"), "uint8", 255, "1", "name of the scene, UTF-8, zero-padded"),
    ArraySpec("sample", ("rig", "text"), "uint8", 255, "1", "name of the sample in its scene, UTF-8, zero-padded"),
    ArraySpec(
        "ego_mask_index", ("rig", "camera"), "int16", -2, "1",
        "which ego_mask applies; -1: none, the camera does not see its own car",
    ),
)  # fmt: skip

DENSE_DEPTH = ArraySpec(
    "dense_depth", ("rig", "camera", "native_height", "native_width"), "float16", math.nan, "m",
    "depth at every pixel of the native image, for evaluation: z in the frame of its camera; 0: none, as at the sky",
    per_rig=True, compression="shuffle",
)  # fmt: skip

RAW_IMAGE = ArraySpec(
    "image", ("rig", "camera", "height", "width", "rgb"), "uint8", 0, "1",
    "RGB values", per_rig=True,
)  # fmt: skip

EGO_MASK = ArraySpec(
    "ego_mask", ("mask", "height", "width"), "uint8", 255, "1",
    "1: the world, 0: the own car; at the size of the stored image",
)  # fmt: skip

VIEW_RELATION = ArraySpec(
    "view_relation", ("rig", "pair", "token_i", "token_j"), "float16", math.nan, "1",
    "cosine similarity of token i of the pair's first view with token j of its second, as they are or less the rig's "
    "mean token: targets.relation_of in the manifest", per_rig=True,
)  # fmt: skip

FEATURE = ArraySpec(
    "feature", ("rig", "camera", "token", "channel"), "float16", math.nan, "1",
    "the teacher's tokens, of whose cosine similarities view_relation consists: its features averaged over a grid, "
    "row by row", per_rig=True,
)  # fmt: skip

DISPARITY_LOW = ArraySpec(
    "disparity_low", ("rig", "camera", "test_time_view"), "float32", math.nan, "1",
    "low of d = low + u · span, which gives back the teacher's disparity d from the normalised u, or from what was "
    "ranked; 1/m where the teacher is metric. Test-time views are the plain frame and the mirrored one, at each scale; "
    "0 where the teacher says nothing about the view",
)  # fmt: skip

DISPARITY_SPAN = ArraySpec(
    "disparity_span", ("rig", "camera", "test_time_view"), "float32", math.nan, "1",
    "span of d = low + u · span, in the unit of disparity_low; 0 where the teacher says nothing about the view",
)  # fmt: skip

RAW_SCALE = (DISPARITY_LOW, DISPARITY_SPAN)
"""What normalisation takes off each view's disparity."""

TARGET_ARRAYS = {
    "moments": (
        ArraySpec(
            "bin_mean", ("rig", "camera", "height", "width"), "uint16", 65535, "1",
            "mean of the target on the normalised disparity u, as a code: u = code / largest_code, "
            "which is in the attributes", per_rig=True, compression="shuffle",
        ),
        ArraySpec(
            "bin_spread", ("rig", "camera", "height", "width"), "uint8", 255, "1",
            "spread of the target on u, as a code: spread = spread_min · (spread_max / spread_min)^(code / 254), "
            "both limits in the attributes",
            per_rig=True, compression="shuffle",
        ),
    ),
    "topk": (
        ArraySpec(
            "bin_index", ("rig", "camera", "rank", "height", "width"), "uint8", 255, "1",
            "the most probable bins, most probable first", per_rig=True,
        ),
        ArraySpec(
            "bin_prob", ("rig", "camera", "rank", "height", "width"), "uint8", 255, "1",
            "their probabilities as codes: p = code / 254; what is left of 1 is spread evenly over the other bins",
            per_rig=True,
        ),
    ),
    "dense": (
        ArraySpec(
            "bin_prob_dense", ("rig", "camera", "bin", "height", "width"), "float16", math.nan, "1",
            "probability of every bin", per_rig=True,
        ),
    ),
}  # fmt: skip


def frame_arrays(image: ImageSpec, split: SplitRecord) -> tuple[ArraySpec, ...]:
    """The arrays of `frames/` that have a rig axis, for the given image encoding."""
    dense_depth = (DENSE_DEPTH,) if split.dense_depth else ()
    if image.encoding == "jpeg":
        return (*FRAME_ARRAYS, *dense_depth)
    others = (array for array in FRAME_ARRAYS if array.name not in ("image", "image_length"))
    return (RAW_IMAGE, *others, *dense_depth)


def target_arrays(targets: TargetSpec) -> tuple[ArraySpec, ...]:
    """The arrays of `teachers/<name>/` for the given encoding, among them those that are not stored, of size 0."""
    return (*TARGET_ARRAYS[targets.encoding], VIEW_RELATION, *RAW_SCALE, FEATURE)


def frame_sizes(dataset: DatasetIdentity, image: ImageSpec, split: SplitRecord) -> dict[str, int]:
    """Axis sizes of `frames/`.

    The byte axis has room for three bytes per pixel: random noise takes 2.4 at quality 95 without chroma
    subsampling, and what is not used costs next to nothing once compressed.
    """
    return {
        "rig": split.rigs,
        "mask": split.ego_masks,
        "camera": len(dataset.cameras),
        "point": split.lidar_points,
        "text": split.text_bytes,
        "byte": whole_chunks(len(dataset.cameras) * image.height * image.width * 3, IMAGE_CHUNK_BYTES),
        "height": image.height,
        "width": image.width,
        "native_height": dataset.native_size[0],
        "native_width": dataset.native_size[1],
        "rgb": 3,
        "uv": 2,
        "k_row": 3,
        "k_column": 3,
        "row": 4,
        "column": 4,
    }


def whole_chunks(size: int, chunk: int) -> int:
    """A size rounded up to chunks."""
    return -(-size // chunk) * chunk


def target_sizes(dataset: DatasetIdentity, targets: TargetSpec, split: SplitRecord) -> dict[str, int]:
    """Axis sizes of `teachers/<name>/`."""
    tokens = targets.token_grid[0] * targets.token_grid[1]
    return {
        "rig": split.rigs,
        "camera": len(dataset.cameras),
        "pair": len(dataset.adjacent_pairs),
        "height": targets.height,
        "width": targets.width,
        "rank": targets.topk,
        "bin": targets.bins.count,
        "token_i": tokens,
        "token_j": tokens,
        "token": tokens,
        "channel": targets.feature_channels,
        "test_time_view": targets.test_time_views,
    }


def chunk_shapes(
    array: ArraySpec, shape: tuple[int, ...], shard_rigs: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Chunk and shard shape: a shard spans `shard_rigs` rigs and every other axis whole."""
    if array.axes[0] != "rig":
        return tuple(max(size, 1) for size in shape), None
    if not array.per_rig:
        return (shard_rigs, *shape[1:]), None
    return (1, *shape[1:-1], array.chunk_length or shape[-1]), (shard_rigs, *shape[1:])


def markdown_table(arrays: Iterable[ArraySpec]) -> str:
    """The arrays as rows of a Markdown table."""
    rows = ["| array | axes | type | unit | fill | what |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{a.name}` | {', '.join(a.axes)} | {a.dtype} | {a.unit} | {a.fill} | {a.description} |" for a in arrays
    ]
    return "\n".join(rows)


def markdown() -> str:
    """The format as docs/cache.md shows it."""
    every_target = [array for arrays in TARGET_ARRAYS.values() for array in arrays]
    return "\n\n".join(
        [
            "`<split>/frames/`",
            markdown_table([*FRAME_ARRAYS, EGO_MASK]),
            "With raw images, `image` is instead",
            markdown_table([RAW_IMAGE]),
            "Where the dataset has dense depth, there is also",
            markdown_table([DENSE_DEPTH]),
            "`<split>/teachers/<name>/`: the arrays of one encoding, `view_relation`, and the raw scale",
            markdown_table([*every_target, VIEW_RELATION, *RAW_SCALE]),
            "With the teacher's features, there is also",
            markdown_table([FEATURE]),
        ]
    )
