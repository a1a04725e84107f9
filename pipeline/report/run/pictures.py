"""A rig and what its subjects make of it as a PNG file, laid out as the sheets of stage 1 are."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from pipeline.painting import ERROR, ERROR_COLOURS, Maps
from pipeline.report.seen import Seen
from stages.cache_teacher.sheet import DEPTH_SCALE, Row, Scale, camera_titles, image_row, lay_out, lidar_row, png

_ERROR = Scale(Normalize(0, ERROR), ERROR_COLOURS, "relative error", {0.0: "0", ERROR: f"{100 * ERROR:.0f} %"})


def picture(seen: Seen) -> bytes:
    """Image, LiDAR, and of every subject its depth and its error at LiDAR points."""
    rows = [image_row(seen.rig), lidar_row(seen.rig, seen.dataset.native_size)]
    for subject in seen.predictions:
        rows.append(_row(seen, subject, seen.depth(subject), DEPTH_SCALE))
        rows.append(_row(seen, f"{subject}\nerror", seen.error(subject, "lidar"), _ERROR))
    title = [seen.title, ", ".join(f"AbsRel of {name} {_score(seen, name)}" for name in seen.predictions)]
    cameras = camera_titles(seen.dataset.cameras, seen.rig.rig_from_camera)
    return png(lay_out(title, cameras, rows, seen.rig.images.shape[1:3]))


def _score(seen: Seen, subject: str) -> str:
    score = seen.abs_rel(subject, "lidar")
    return "not known" if score is None else f"{score:.3f}"


def _row(seen: Seen, name: str, maps: Maps, scale: Scale) -> Row:
    height, width = seen.rig.images.shape[1:3]

    def paint(axes: Axes, camera: int) -> str:
        drawn = np.ma.masked_invalid(maps[camera])
        where = (-0.5, width - 0.5, height - 0.5, -0.5)
        axes.set_facecolor("0.15")
        axes.imshow(drawn, norm=scale.norm, cmap=scale.colours, extent=where, interpolation="nearest")
        return ""

    return Row(name, paint, scale)
