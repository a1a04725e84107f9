"""One keyframe as a rig, to the last bit what nuscenes-devkit makes of it.

`project` follows `NuScenesExplorer.map_pointcloud_to_image`: from the LiDAR over the car at the sweep's time, the world
and the car at the image's time into the camera, in the float32 that the devkit keeps points in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from cache_schema import LidarView, RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import Sweep
from stages.cache_teacher.datasets.nuscenes.devkit import LidarPointCloud, Quaternion, transform_matrix, view_points
from stages.cache_teacher.datasets.nuscenes.sample import NuscenesSample, Placement, Reading
from stages.cache_teacher.datasets.plausible_cameras import require_pinhole, require_size
from stages.cache_teacher.datasets.projection import NO_POINTS, last_per_pixel
from stages.cache_teacher.datasets.raw_files import REMEDY, decode_views, path_inside, read_bytes

CALIBRATED_BY = "calibrated_sensor.json"
POINT_BYTES = 5 * 4
"""x, y, z, intensity and ring of a point, float32 each."""
MIN_DEPTH_M = 1.0
"""What is nearer to a camera is its own housing; the devkit's `min_dist`."""
MARGIN_PX = 1.0
"""Points this near to the border of an image are left out, as by the devkit."""
OWN_CAR_M = 1.0
"""Of an earlier sweep, points within this of the LiDAR in x and y are left out, as by the devkit."""


def read_rig(root: Path, sample: NuscenesSample, *, lidar: bool = True) -> RigFrames:
    """Read the images of a keyframe and, with `lidar`, its sweep and the earlier ones that it comes with.

    Raises DatasetError naming the file at fault.
    """
    named_in = root / "sample_data.json"
    image_paths = [path_inside(root, reading.filename, named_in) for reading in sample.cameras]
    image_files = tuple(read_bytes(path) for path in image_paths)
    images = decode_views(image_files, image_paths)
    intrinsics_px = np.array([reading.intrinsics_px for reading in sample.cameras], dtype=np.float32)
    for reading, path, image, K in zip(sample.cameras, image_paths, images, intrinsics_px, strict=True):
        require_size(path, image.shape[:2], path.parent.name, reading.size_hw, by=named_in.name)
        require_pinhole(path.parent.name, K, image.shape[:2], CALIBRATED_BY)
    views = tuple(NO_POINTS for _ in images)
    if lidar and sample.lidar is not None:
        world = world_points(root, sample)
        views = tuple(
            project(world, reading, image.shape[:2]) for reading, image in zip(sample.cameras, images, strict=True)
        )
    rig_from_camera = np.stack([matrix_of(reading.ego_from_sensor) for reading in sample.cameras])
    return RigFrames(
        scene=sample.scene,
        sample=sample.sample,
        timestamp=sample.timestamp,
        images=images,
        image_files=image_files,
        lidar=views,
        intrinsics_px=intrinsics_px,
        rig_from_camera=rig_from_camera,
        world_from_camera=np.stack(
            [
                matrix_of(reading.global_from_ego) @ mounting
                for reading, mounting in zip(sample.cameras, rig_from_camera, strict=True)
            ]
        ),
        world_from_rig=read_world_from_rig(sample),
    )


def read_world_from_rig(sample: NuscenesSample) -> Float64[np.ndarray, "4 4"]:
    """Where the car was at the time of the sweep or, without one, of the front image."""
    return matrix_of((sample.lidar or sample.cameras[0]).global_from_ego)


def project(world: LidarPointCloud, camera: Reading, size_hw: tuple[int, int]) -> LidarView:
    """The points of a cloud in world coordinates that a camera sees, the last one where several share a pixel.

    The pixel is the nearest one: a pixel's centre has whole coordinates here.
    """
    height, width = size_hw
    cloud = LidarPointCloud(world.points.copy())
    for placement in (camera.global_from_ego, camera.ego_from_sensor):
        cloud.translate(-np.array(placement.translation_m))
        cloud.rotate(Quaternion(placement.rotation).rotation_matrix.T)
    depth_m: Float32[np.ndarray, "point"] = cloud.points[2]
    with np.errstate(all="ignore"):  # points at z = 0, and those that are not finite, drop out below
        u, v, _ = view_points(cloud.points[:3], np.array(camera.intrinsics_px), normalize=True)
        seen = (depth_m > MIN_DEPTH_M) & np.isfinite(depth_m)
        for position, size in ((u, width), (v, height)):
            seen &= (position > MARGIN_PX) & (position < size - MARGIN_PX)
    pixel = np.rint(v[seen]).astype(np.int64) * width + np.rint(u[seen]).astype(np.int64)
    return last_per_pixel(pixel, depth_m[seen], width)


def read_sweep(path: Path) -> LidarPointCloud:
    """A sweep in its LiDAR's frame. Raises DatasetError where it is missing or has another size than points have."""
    try:
        size = path.stat().st_size
        if size % POINT_BYTES:
            raise DatasetError(
                f"{path}: has {size} bytes; expected a multiple of {POINT_BYTES} (x, y, z, intensity and ring of a "
                f"point, float32 each); {REMEDY}"
            )
        return LidarPointCloud.from_file(str(path))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error


def read_own_sweep(root: Path, sample: NuscenesSample) -> Sweep:
    """The keyframe's own sweep. Raises DatasetError like `read_sweep`."""
    assert sample.lidar is not None
    path = path_inside(root, sample.lidar.filename, root / "sample_data.json")
    return Sweep(str(path), read_sweep(path).points[:3].T, matrix_of(sample.lidar.ego_from_sensor))


def world_points(root: Path, sample: NuscenesSample) -> LidarPointCloud:
    """The points of a keyframe in world coordinates, those of its own sweep last."""
    assert sample.lidar is not None
    clouds = []
    for sweep in (*reversed(sample.earlier_sweeps), sample.lidar):
        cloud = read_sweep(path_inside(root, sweep.filename, root / "sample_data.json"))
        if sweep is not sample.lidar:
            cloud.remove_close(OWN_CAR_M)
        for placement in (sweep.ego_from_sensor, sweep.global_from_ego):
            cloud.rotate(Quaternion(placement.rotation).rotation_matrix)
            cloud.translate(np.array(placement.translation_m))
        clouds.append(cloud.points)
    return LidarPointCloud(np.concatenate(clouds, axis=1))


def matrix_of(placement: Placement) -> Float64[np.ndarray, "4 4"]:
    """Homogeneous coordinates of the parent from the child's."""
    matrix: Float64[np.ndarray, "4 4"]
    matrix = transform_matrix(np.array(placement.translation_m), Quaternion(placement.rotation))
    return matrix
