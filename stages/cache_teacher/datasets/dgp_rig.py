"""One sample of a DGP scene as a rig, to the last bit what TRI's toolkit makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import SampleRef, Sweep
from stages.cache_teacher.datasets.dgp_json import Calibration, Measurement, Pose, Sample, Scene
from stages.cache_teacher.datasets.plausible_cameras import require_pinhole, require_size
from stages.cache_teacher.datasets.projection import NO_POINTS, project, world_points
from stages.cache_teacher.datasets.raw_files import (
    REMEDY,
    decode_views,
    path_inside,
    read_bytes,
    read_depth,
    read_points,
)
from stages.cache_teacher.datasets.rigid import inverse_transform_from_pose, transform_from_pose

LIDAR = "LIDAR"


def read_rig(
    ref: SampleRef,
    scene: Scene,
    calibration: Calibration,
    cameras: Sequence[str],
    *,
    lidar: bool = True,
    dense_depth: bool = True,
) -> RigFrames:
    """Read images, sweep and, where every image has it, dense depth of a complete sample.

    Without `lidar` no sweep is read; a sample that has none is where its front camera says. Without `dense_depth` no
    depth map is read.

    Raises DatasetError naming the file at fault.
    """
    sample = _SampleFiles(scene, ref.sample)
    _check_calibrated(scene.samples[ref.sample], calibration)
    image_paths = [sample.path(camera) for camera in cameras]
    image_files = tuple(read_bytes(path) for path in image_paths)
    images = decode_views(image_files, image_paths)
    intrinsics_px = np.stack([intrinsics_of(calibration, camera) for camera in cameras])
    for camera, path, image, K in zip(cameras, image_paths, images, intrinsics_px, strict=True):
        require_size(path, image.shape[:2], camera, sample.size_hw(camera), by=scene.path.name)
        require_pinhole(camera, K, image.shape[:2], str(calibration.path))
    views = tuple(NO_POINTS for _ in cameras)
    if lidar:
        world = world_points(read_points(sample.path(LIDAR)), transform_from_pose(*sample.pose(LIDAR)))
        views = tuple(
            project(world, inverse_transform_from_pose(*sample.pose(camera)), K, images[0].shape[:2])
            for camera, K in zip(cameras, intrinsics_px, strict=True)
        )
    return RigFrames(
        scene=ref.scene,
        sample=ref.sample,
        timestamp=ref.timestamp,
        images=images,
        image_files=image_files,
        lidar=views,
        intrinsics_px=intrinsics_px,
        rig_from_camera=np.stack([mounting_of(calibration, camera) for camera in cameras]),
        world_from_camera=np.stack([transform_from_pose(*sample.pose(camera)) for camera in cameras]),
        world_from_rig=read_world_from_rig(ref, scene, calibration, cameras),
        dense_depth_m=_dense_depth(sample.depth_paths(cameras), images) if dense_depth else None,
    )


def read_sweep(ref: SampleRef, scene: Scene, calibration: Calibration) -> Sweep:
    """The LiDAR's points of a sample that has them. Raises DatasetError naming the file at fault."""
    path = _SampleFiles(scene, ref.sample).path(LIDAR)
    return Sweep(str(path), read_points(path), mounting_of(calibration, LIDAR))


def read_world_from_rig(
    ref: SampleRef, scene: Scene, calibration: Calibration, cameras: Sequence[str]
) -> Float64[np.ndarray, "4 4"]:
    """Where the rig of a sample is: as its LiDAR says or, without one, its front camera.

    Raises DatasetError naming the file at fault.
    """
    clock = LIDAR if LIDAR in scene.samples[ref.sample].sensors else cameras[0]
    if clock not in calibration.rig_from_sensor:
        _check_calibrated(scene.samples[ref.sample], calibration)
    world_from_clock = transform_from_pose(*_SampleFiles(scene, ref.sample).pose(clock))
    world_from_rig: Float64[np.ndarray, "4 4"]
    world_from_rig = world_from_clock @ inverse_transform_from_pose(*_mounting(calibration, clock))
    return world_from_rig


def depth_files(sample: Sample, cameras: Sequence[str]) -> dict[str, str]:
    """The depth map of each camera that the scene names one for, relative to the scene."""
    sensors = sample.sensors
    return {
        camera: filename
        for camera in cameras
        if camera in sensors and (filename := sensors[camera].depth_filename) is not None
    }


def intrinsics_of(calibration: Calibration, camera: str) -> Float32[np.ndarray, "3 3"]:
    """The pinhole matrix of a camera in pixels; the skew is dropped, as in the toolkit.

    Raises DatasetError where its numbers are not finite.
    """
    i = calibration.intrinsics[camera]
    with np.errstate(over="ignore"):
        matrix = np.array([[i.fx, 0, i.cx], [0, i.fy, i.cy], [0, 0, 1]], dtype=np.float32)
    if not np.isfinite(matrix).all():
        raise DatasetError(f"{calibration.path}: {camera} has the intrinsics {i}; expected finite numbers; {REMEDY}")
    return matrix


def mounting_of(calibration: Calibration, sensor: str) -> Float64[np.ndarray, "4 4"]:
    """rig_from_sensor of a calibration that holds it. Raises DatasetError where its pose is no rotation."""
    return transform_from_pose(*_mounting(calibration, sensor))


@dataclass(frozen=True)
class _SampleFiles:
    """Where one sample's files are, and the poses with the name that an error gives them."""

    scene: Scene
    sample: str

    def path(self, sensor: str) -> Path:
        return self._inside(self._measurement(sensor).filename)

    def depth_paths(self, cameras: Sequence[str]) -> list[Path]:
        return [self._inside(file) for file in depth_files(self.scene.samples[self.sample], cameras).values()]

    def pose(self, sensor: str) -> tuple[Pose, str]:
        return self._measurement(sensor).pose, f"{self.scene.path}: {sensor} of sample {self.sample}"

    def size_hw(self, camera: str) -> tuple[int, int] | None:
        return self._measurement(camera).size_hw

    def _inside(self, filename: str) -> Path:
        return path_inside(self.scene.path.parent, filename, self.scene.path)

    def _measurement(self, sensor: str) -> Measurement:
        return self.scene.samples[self.sample].sensors[sensor]


def _dense_depth(
    paths: Sequence[Path], images: Sequence[UInt8[np.ndarray, "H W 3"]]
) -> Float32[np.ndarray, "V H W"] | None:
    if len(paths) < len(images) or not any(path.exists() for path in paths):
        return None
    return np.stack([read_depth(path, images[0].shape[:2]) for path in paths])


def _check_calibrated(sample: Sample, calibration: Calibration) -> None:
    """Every image needs a camera, also one outside the ring: else a camera would be lost in silence."""
    images = {name for name, measurement in sample.sensors.items() if measurement.is_image}
    sweeps = {LIDAR} & {*sample.sensors}
    lacking = sorted((images - {*calibration.cameras}) | (sweeps - {*calibration.rig_from_sensor}))
    if lacking:
        found = ", ".join(calibration.rig_from_sensor) or "nothing"
        raise DatasetError(
            f"{calibration.path}: calibrates {found}; expected {', '.join(lacking)} as well, "
            f"which a sample uses; {REMEDY}"
        )


def _mounting(calibration: Calibration, sensor: str) -> tuple[Pose, str]:
    return calibration.rig_from_sensor[sensor], f"{calibration.path}: {sensor}"
