"""Rigs, predictions and point clouds for Rerun, the viewer (extra `viz`).

Everything stands in the rig's frame (x forward, y left, z up), one rig after another on the timeline `rig`:

    rig/CAMERA               where the camera is
    rig/CAMERA/image         its pinhole, the image, and each subject's depth in metres over it
    rig/CAMERA/lidar         LiDAR points, coloured by depth
    rig/CAMERA/SUBJECT       a subject's prediction as points, coloured by the image
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema import Cache, CachedRig
from cache_schema.errors import ConfigError
from pipeline.geometry import grid_px, unproject
from pipeline.painting import depth_colours
from pipeline.rigs import refuse_unknown
from stages.device import choose_device
from stages.evaluate.prediction import Prediction
from stages.evaluate.protocol import protocol
from stages.evaluate.subjects import student_subject, teacher_subjects
from stages.evaluate.truth import lidar_truth
from stages.progress import Progress
from stages.train.student import load_student

try:
    import rerun as rr
    import rerun.blueprint as rrb
except ImportError as missing:
    raise ConfigError(
        f"Rerun, which shows rigs, is not installed ({missing}); in the folder of fsmde: pip install -e '.[viz]'"
    ) from missing

STRIDE = 4
"""Of a prediction every so-manieth pixel, down and across, becomes a point."""


def show(
    cache: str,
    split: str,
    run: Path | None,
    rigs: Sequence[int],
    *,
    device: str,
    progress: Progress,
    save: Path | None = None,
    connect: str | None = None,
) -> None:
    """Send rigs to a viewer of one's own, to one that runs at a URL, or into a file that one opens.

    Raises CacheError, TrainingError (no student there), and ConfigError for a rig that there is not.
    """
    opened = Cache(cache)
    frames, dataset = opened.split(split), opened.manifest.dataset
    refuse_unknown(opened, split, rigs)
    subjects = [] if run is None else [student_subject(load_student(run / "student", choose_device(device)))]
    subjects += teacher_subjects(opened, split)
    recording = rr.RecordingStream("fsmde", recording_id=f"{Path(cache).name}-{split}")
    if save is not None:
        recording.save(save)
    elif connect is not None:
        recording.connect_grpc(connect)
    else:
        recording.spawn()
    recording.send_blueprint(_blueprint(dataset.cameras))
    recording.log("rig", rr.ViewCoordinates.FLU, static=True)
    progress.begin("view", len(rigs))
    by = protocol("native", dataset)
    for index in rigs:
        rig = frames[index]
        recording.set_time("rig", sequence=index)
        recording.log("rig/name", rr.TextDocument(f"{rig.scene} / {rig.sample}"))
        truth = lidar_truth(rig, by, dataset)
        predictions = {
            subject.name: subject.shown(index, rig, truth, dataset.native_size, by.clamp_m[1]) for subject in subjects
        }
        for view, camera in enumerate(dataset.cameras):
            _log_camera(recording, camera, rig, view, dataset.native_size, predictions)
        progress.advance()
    recording.disconnect()


def _blueprint(cameras: Sequence[str]) -> Any:
    images = [rrb.Spatial2DView(origin=rr.new_entity_path(["rig", camera, "image"]), name=camera) for camera in cameras]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Spatial3DView(origin="rig", name="rig"),
            rrb.Grid(*images, grid_columns=3),
            row_shares=[2, 1],
        )
    )


def _log_camera(
    recording: Any,
    camera: str,
    rig: CachedRig,
    view: int,
    native_size: tuple[int, int],
    predictions: dict[str, Prediction],
) -> None:
    image = rig.images[view]
    height, width = image.shape[:2]
    native_h, native_w = native_size
    K = rig.intrinsics_px[view].astype(np.float64)
    pose = rig.rig_from_camera[view]
    recording.log(["rig", camera], rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    stored = np.diag([width / native_w, height / native_h, 1.0]) @ K
    pinhole = rr.Pinhole(image_from_camera=stored, resolution=[width, height], camera_xyz=rr.ViewCoordinates.RDF)
    recording.log(["rig", camera, "image"], pinhole)
    recording.log(["rig", camera, "image"], rr.Image(image).compress(jpeg_quality=90))
    points = rig.lidar[view]
    lidar = unproject(points.uv_px + 0.5, points.depth_m, K)
    recording.log(["rig", camera, "lidar"], rr.Points3D(lidar, colors=depth_colours(points.depth_m)[:, :3], radii=0.03))
    xy_px = grid_px((height, width), native_size)
    shown = (slice(STRIDE // 2, None, STRIDE),) * 2
    for name, prediction in predictions.items():
        if not prediction.knows(view):
            continue
        depth_m = prediction.at(view, xy_px.reshape(-1, 2)).reshape(height, width).astype(np.float32)
        points_m = unproject(xy_px[shown].reshape(-1, 2), depth_m[shown].ravel(), K)
        recording.log(["rig", camera, name], rr.Points3D(points_m, colors=image[shown].reshape(-1, 3), radii=0.02))
        recording.log(["rig", camera, "image", name], rr.DepthImage(depth_m, meter=1.0))
