"""Rigid transforms from DGP poses, to the last bit those of TRI's toolkit (`dgp.utils.pose`).

The toolkit rounds quaternion and translation to float32 and goes on in float64 with quaternion products.
World coordinates reach kilometres, so that any other order of operations changes a last bit of the depths
now and then.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.dgp_json import Pose
from stages.cache_teacher.datasets.raw_files import REMEDY

MAX_NORM_ERROR = 1e-3

Quaternion = Float64[np.ndarray, "4"]
Transform = Float64[np.ndarray, "4 4"]


def transform_from_pose(pose: Pose, source: str) -> Transform:
    """The 4×4 matrix of a pose, translation in metres.

    Raises DatasetError, beginning with `source`, where the pose is not finite or not a rotation.
    """
    rotation, translation = _rounded(pose, source)
    return _matrix(_unit(rotation), translation)


def inverse_transform_from_pose(pose: Pose, source: str) -> Transform:
    """The 4×4 matrix of a pose's inverse. Raises DatasetError like `transform_from_pose`."""
    rotation, translation = _rounded(pose, source)
    inverse = _unit(_conjugate(rotation) / (rotation @ rotation))
    turned = _left(_left(inverse) @ np.concatenate(([0.0], -translation))) @ _conjugate(inverse)
    return _matrix(inverse, turned[1:])


def _rounded(pose: Pose, source: str) -> tuple[Quaternion, Float64[np.ndarray, "3"]]:
    """Quaternion (w, x, y, z) and translation after rounding to float32."""
    q, t = pose.rotation, pose.translation
    with np.errstate(over="ignore"):
        values = np.array([q.qw, q.qx, q.qy, q.qz, t.x, t.y, t.z], dtype=np.float32).astype(np.float64)
    norm = float(np.linalg.norm(values[:4]))
    if not np.isfinite(values).all() or abs(norm - 1.0) > MAX_NORM_ERROR:
        raise DatasetError(
            f"{source}: has the pose {values.tolist()} (qw, qx, qy, qz, x, y, z); "
            f"expected finite numbers and a quaternion of norm 1, found norm {norm:.6g}; {REMEDY}"
        )
    return values[:4], values[4:]


def _matrix(q: Quaternion, translation: Float64[np.ndarray, "3"]) -> Transform:
    matrix = np.eye(4)
    matrix[:3, :3] = (_left(q) @ _right(q).T)[1:, 1:]
    matrix[:3, 3] = translation
    return matrix


def _unit(q: Quaternion) -> Quaternion:
    squared = float(q @ q)
    # The toolkit leaves a quaternion alone that is this close to unit length.
    return q if abs(1.0 - squared) < 1e-14 else q / math.sqrt(squared)


def _conjugate(q: Quaternion) -> Quaternion:
    w, x, y, z = q
    return np.array([w, -x, -y, -z])


def _left(q: Quaternion) -> Transform:
    """The matrix of p ↦ q·p."""
    w, x, y, z = q
    return np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])


def _right(q: Quaternion) -> Transform:
    """The matrix of p ↦ p·q."""
    w, x, y, z = q
    return np.array([[w, -x, -y, -z], [x, w, z, -y], [y, -z, w, x], [z, y, -x, w]])
