"""Point clouds in the formats that people have: npz, bin, pcd and ply."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cache_schema.errors import ConfigError, DatasetError
from stages.cache_teacher.datasets.raw_files import read_bytes, refuse_pointer, what_it_says

NPZ_ARRAYS = ("points", "data")
COLUMNS = range(3, 9)
"""Numbers of a point in the .bin files that people have."""
AFTER_FIRST = "x, y and z in the columns after the first"
_BAD = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, RuntimeError, MemoryError, struct.error)


def read_cloud(path: Path, bin_columns: int) -> Float[np.ndarray, "point 3"]:
    """x, y and z of the points of a file, in its order.

    A .bin is float32, `bin_columns` to a point; an .npz holds them in an array `points` or `data` of 3 or more columns;
    a .pcd or .ply in its fields x, y and z. Nothing is unpickled. Raises DatasetError where the file is missing,
    damaged or of another form, and ConfigError where the library that reads it is not installed.
    """
    readers = {".npz": _npz, ".bin": lambda p: _bin(p, bin_columns), ".pcd": _pcd, ".ply": _ply}
    if path.suffix not in readers:
        raise DatasetError(f"{path}: is of no known form; expected a point cloud that ends in {', '.join(readers)}")
    points: np.ndarray = readers[path.suffix](path)
    if points.ndim != 2 or points.shape[1] < 3 or not np.issubdtype(points.dtype, np.floating):
        raise _bad(path, f"{points.dtype} of shape {points.shape}, not floating point of shape (N, 3 or more)")
    return np.ascontiguousarray(points[:, :3])


def other_readings(path: Path, bin_columns: int) -> dict[str, Float[np.ndarray, "_ 3"]]:
    """What else the bytes of a .bin, or the columns of an .npz, could be, by the words for it."""
    if path.suffix == ".npz":
        stored = _npz(path)
        return {AFTER_FIRST: stored[:, 1:4]} if stored.shape[1] > 3 else {}
    if path.suffix != ".bin":
        return {}
    data = read_bytes(path)
    readings = {}
    for dtype, called in (("<f4", "float32"), ("<f8", "float64")):
        for columns in COLUMNS:
            whole = len(data) % (np.dtype(dtype).itemsize * columns) == 0
            if whole and (dtype, columns) != ("<f4", bin_columns):
                readings[f"{columns} columns of {called}"] = np.frombuffer(data, dtype).reshape(-1, columns)[:, :3]
    if bin_columns > 3:
        readings[AFTER_FIRST] = _bin(path, bin_columns)[:, 1:4]
    return readings


def _bin(path: Path, columns: int) -> np.ndarray:
    data = read_bytes(path)
    if len(data) % (4 * columns):
        raise _bad(path, f"{len(data)} bytes are no multiple of {columns} float32; lidar.bin_columns says how many")
    return np.frombuffer(data, "<f4").reshape(-1, columns)


def _npz(path: Path) -> np.ndarray:
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as arrays:
            name = next((name for name in NPZ_ARRAYS if name in arrays), None)
            if name is None:
                raise _bad(path, f"it has the arrays {', '.join(arrays) or 'none'}, none of {', '.join(NPZ_ARRAYS)}")
            return np.asarray(arrays[name])
    except (*_BAD, zipfile.BadZipFile, zlib.error) as error:
        raise _bad(path, what_it_says(error)) from error


def _pcd(path: Path) -> np.ndarray:
    try:
        from pypcd4 import PointCloud
    except ImportError as error:
        raise _not_installed(path, error) from error
    try:
        return np.asarray(PointCloud.from_path(path).numpy(("x", "y", "z")))
    except _BAD as error:
        refuse_pointer(path)
        raise _bad(path, what_it_says(error)) from error


def _ply(path: Path) -> np.ndarray:
    try:
        from plyfile import PlyData, PlyParseError
    except ImportError as error:
        raise _not_installed(path, error) from error
    try:
        vertex = PlyData.read(path)["vertex"]
        return np.stack([np.asarray(vertex[axis], np.float64) for axis in "xyz"], axis=1)
    except (*_BAD, PlyParseError) as error:
        refuse_pointer(path)
        raise _bad(path, what_it_says(error)) from error


def _bad(path: Path, found: str) -> DatasetError:
    return DatasetError(f"{path}: is not a point cloud as expected ({found}); docs/folder.md describes the forms")


def _not_installed(path: Path, error: ImportError) -> ConfigError:
    return ConfigError(
        f"{path}: needs a library that is not installed ({error}); in fsmde's folder: pip install -e '.[points]'"
    )
