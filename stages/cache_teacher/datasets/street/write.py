"""Rendered rigs on disk, in DDAD's own format (DGP v1): the same folder, byte for byte, for the same rigs.

Dense depth lies where DGP keeps it: an annotation of the image, of the type DEPTH of its `annotations.proto`, an npz
file whose `data` (H, W) float32 is camera z in metres, 0 where there is none (the sky and the own car). Beside the
scenes stand ego masks in VFDepth's layout.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from cache_schema.durable import sync_file, sync_folder, write_atomic
from stages.cache_teacher.datasets.dgp_json import DEPTH
from stages.cache_teacher.datasets.dgp_rig import LIDAR
from stages.cache_teacher.datasets.ego_masks import INDEX_FILE
from stages.cache_teacher.datasets.street import StreetRig

DATASET_FILE = "ddad.json"
MASKS = "masks"
"""Folder of the ego masks, in the dataset's and in each scene's."""
JPEG_QUALITY = 95
DEPTH_BITS = 12
"""Bits after the leading one that a depth keeps: the relative error is at most 2⁻¹³ = 0.012 %, and at 384 × 640 a rig's
depth takes 1.0 MB, not 4.0."""

_SPLIT_NUMBERS = {"train": "0", "val": "1"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_ZIP_LEVEL = 4
"""Takes a third to a half of the time of zlib's own choice, 6; depth maps are 3 % (96 × 160) to 15 % larger."""

Json = dict[str, Any]


def write_scene(
    folder: Path, name: str, rigs: Iterable[StreetRig], *, lidar: bool, tell: Callable[[], None] = lambda: None
) -> None:
    """Write the rigs of a scene into `folder`, which is made, flushed to the disk; `tell` is called after each rig.

    The own car is taken to look the same in all of them. Without `lidar` the sweeps are empty.
    """
    data: list[Json] = []
    samples: list[Json] = []
    for rig in rigs:
        if not samples:
            _write_masks(folder / MASKS, rig)
        datums = _write_rig(folder, name, rig, lidar=lidar)
        data += datums
        samples.append(_sample(name, datums, _write_calibration(folder, rig)))
        tell()
    _link(data)
    scene = {
        "name": name,
        "log": name,
        "description": "Street: a generated town, seen by a rig like DDAD's.",
        "metadata": {},
        "ontologies": {},
        "data": data,
        "samples": samples,
    }
    _write_json(folder / f"scene_{_digest(scene)}.json", scene)
    for path in (*folder.rglob("*"), folder):
        (sync_folder if path.is_dir() else sync_file)(path)


def write_dataset_file(root: Path, version: str, scenes: Mapping[str, Sequence[str]]) -> None:
    """Write ego masks and at last ddad.json, which makes a readable dataset of scenes (names by split) in `root`."""
    _write_mask_groups(root, [name for names in scenes.values() for name in names])
    splits = {
        _SPLIT_NUMBERS[split]: {"filenames": [str(_scene_file(root / name).relative_to(root)) for name in names]}
        for split, names in scenes.items()
    }
    metadata = {
        "name": "street",
        "version": version,
        "description": "Generated towns, seen by a rig like DDAD's; dense depth for evaluation.",
        "origin": "PUBLIC",
        "available_annotation_types": [int(DEPTH)],
    }
    write_atomic(root / DATASET_FILE, _json({"metadata": metadata, "scene_splits": splits}))


def _write_rig(folder: Path, scene: str, rig: StreetRig, *, lidar: bool) -> list[Json]:
    """The files of a rig; returns its datums, the sweep first."""
    sweep = f"point_cloud/{LIDAR}/{rig.lidar_time_us}.npz"
    _write_npz(folder / sweep, rig.points if lidar else rig.points[:0])
    cloud = {
        "filename": sweep,
        "point_format": ["X", "Y", "Z", "INTENSITY"],
        "point_fields": [],
        "annotations": {},
        "metadata": {},
        "pose": _pose(rig.world_from_lidar),
    }
    datums = [_datum(scene, LIDAR, rig.lidar_time_us, {"point_cloud": cloud})]
    for view, camera in enumerate(rig.cameras):
        time_us = int(rig.camera_time_us[view])
        picture, depth = f"rgb/{camera}/{time_us}.jpg", f"depth/{camera}/{time_us}.npz"
        _write_jpeg(folder / picture, rig.images[view])
        _write_npz(folder / depth, depth_to_store(rig.depth_m[view]))
        height, width, channels = rig.images[view].shape
        image = {
            "filename": picture,
            "height": height,
            "width": width,
            "channels": channels,
            "annotations": {DEPTH: depth},
            "metadata": {},
            "pose": _pose(rig.world_from_camera[view]),
        }
        datums.append(_datum(scene, camera, time_us, {"image": image}))
    return datums


def depth_to_store(depth_m: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """A depth map as its file holds it: 0 for what is not finite, the others rounded to DEPTH_BITS + 1 binary digits.

    What rounding clears are the noisy last bits of smooth surfaces, which do not compress.
    """
    rest = 23 - DEPTH_BITS
    known = np.where(np.isfinite(depth_m), depth_m, np.float32(0))
    bits = known.view(np.uint32) + np.uint32(1 << (rest - 1))
    return (bits & np.uint32(0xFFFFFFFF << rest & 0xFFFFFFFF)).view(np.float32)


def _write_calibration(folder: Path, rig: StreetRig) -> str:
    """Write the calibration of a rig where it is new; returns its key."""
    calibration = {
        "names": [LIDAR, *rig.cameras],
        "intrinsics": [_intrinsics(np.zeros((3, 3))), *map(_intrinsics, rig.intrinsics_px)],
        "extrinsics": [_pose(rig.rig_from_lidar), *map(_pose, rig.rig_from_camera)],
    }
    key = _digest(calibration)
    path = folder / "calibration" / f"{key}.json"
    if not path.exists():
        _write_json(path, calibration)
    return key


def _write_masks(folder: Path, rig: StreetRig) -> None:
    for camera, own_car in zip(rig.cameras, rig.own_car, strict=True):
        _write_png(folder / f"{camera}_mask.png", np.where(own_car, 0, 255).astype(np.uint8))


def _write_mask_groups(root: Path, scenes: Sequence[str]) -> None:
    """Masks for all scenes in VFDepth's layout: a group for each car that looks different, in order of appearance."""
    groups: dict[tuple[tuple[str, bytes], ...], str] = {}
    index = {}
    for scene in scenes:
        files = tuple((path.name, path.read_bytes()) for path in sorted((root / scene / MASKS).iterdir()))
        index[scene] = groups.setdefault(files, str(len(groups)))
    for files, group in groups.items():
        for name, content in files:
            write_atomic(root / MASKS / group / name, content)
    write_atomic(root / MASKS / INDEX_FILE, _json(index))


def _scene_file(folder: Path) -> Path:
    (path,) = folder.glob("scene_*.json")
    return path


def _sample(scene: str, datums: Sequence[Json], calibration_key: str) -> Json:
    return {
        "id": {**datums[0]["id"], "name": ""},
        "calibration_key": calibration_key,
        "datum_keys": [datum["key"] for datum in datums],
        "metadata": {},
    }


def _datum(scene: str, sensor: str, time_us: int, value: Json) -> Json:
    timestamp = (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    identity = {"log": scene, "name": sensor, "timestamp": timestamp, "index": "0"}
    return {"id": identity, "key": _digest(identity), "datum": value, "next_key": "", "prev_key": ""}


def _link(data: Sequence[Json]) -> None:
    """Every datum names the one before and the one after it of the same sensor."""
    for name in {datum["id"]["name"] for datum in data}:
        for earlier, later in pairwise(datum for datum in data if datum["id"]["name"] == name):
            earlier["next_key"], later["prev_key"] = later["key"], earlier["key"]


def _intrinsics(matrix_px: Float64[np.ndarray, "3 3"]) -> Json:
    fx, fy, cx, cy = matrix_px[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    return {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "skew": 0.0}


def _pose(matrix: Float64[np.ndarray, "4 4"]) -> Json:
    w, x, y, z = _quaternion(matrix[:3, :3]).tolist()
    tx, ty, tz = matrix[:3, 3].tolist()
    return {"rotation": {"qw": w, "qx": x, "qy": y, "qz": z}, "translation": {"x": tx, "y": ty, "z": tz}}


def _quaternion(R: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation: the longest row of 4·q·qᵀ (Shepperd 1978)."""
    (a, b, c), (d, e, f), (g, h, i) = R.tolist()
    products = np.array(
        [
            [1 + a + e + i, h - f, c - g, d - b],
            [h - f, 1 + a - e - i, b + d, c + g],
            [c - g, b + d, 1 - a + e - i, f + h],
            [d - b, c + g, f + h, 1 - a - e + i],
        ]
    )
    row = products[np.argmax(np.diag(products))]
    return np.asarray(row / np.linalg.norm(row))


def _write_jpeg(path: Path, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _write_png(path: Path, pixels: UInt8[np.ndarray, "H W"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")


def _write_npz(path: Path, data: np.ndarray) -> None:
    """What `np.savez_compressed(path, data=data)` writes, but with the same time stamp always."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(data), allow_pickle=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("data.npy", _ZIP_TIME), buffer.getvalue(), zipfile.ZIP_DEFLATED, _ZIP_LEVEL)


def _write_json(path: Path, content: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_json(content), encoding="utf-8")


def _json(content: Json) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _digest(content: Json) -> str:
    """SHA-1, which DGP names things by."""
    return hashlib.sha1(json.dumps(content, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
