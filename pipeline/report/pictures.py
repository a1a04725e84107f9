"""Rigs of the scored split as strips of six views: image, truth, teacher, every variant's depth and error."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from PIL import Image
from torch.nn.functional import interpolate

from cache_schema import Cache, CachedRig, CachedTargets, TargetSpec
from cache_schema.soft_targets import expand, expected_position
from pipeline.reproduce.plan import Comparison
from pipeline.reproduce.variants import compared
from stages.cache_teacher.sheet import columns
from stages.device import choose_device
from stages.evaluate.alignment import depth_from_disparity, fit_disparity
from stages.evaluate.sampling import at_native_points
from stages.train.student import load_student, resize_images

VIEW_WIDTH = 256
"""Pixels; a rig's six views are shown side by side."""
GAP = 4
DEPTH_M = (2.0, 100.0)
"""Range of the colours, logarithmic."""
ERROR = 0.5
"""Relative error that has the brightest colour."""
DEPTH_COLOURS, ERROR_COLOURS = "turbo_r", "inferno"
FAR_M = 200.0

Maps = Float[np.ndarray, "V H W"]
Shown = Float[np.ndarray, "V h w"]
"""Maps at the size at which they are shown."""


@dataclass(frozen=True)
class Strip:
    """One row of a rig's panel: a data URL, and for a prediction its mean relative error at the truth shown."""

    name: str
    depth: str
    error: str | None = None
    abs_rel: float | None = None


@dataclass(frozen=True)
class Panel:
    """One rig."""

    title: str
    truth: str
    """What the errors are against."""
    cameras: tuple[str, ...]
    """From left to right."""
    image: str
    strips: tuple[Strip, ...]


def panels(comparison: Comparison) -> list[Panel]:
    """The rigs that the settings ask for, with the students of the first seed."""
    config = comparison.config
    cache = Cache(config.cache.cache)
    frames = cache.split(config.split)
    chosen = [rig for rig in config.pictured if rig < len(frames)]
    predictors = {name: _student(comparison, name) for name in compared(comparison.config)}
    return [_panel(comparison, cache, rig, predictors) for rig in chosen]


def _panel(comparison: Comparison, cache: Cache, rig: int, predictors: dict[str, Callable[[CachedRig], Maps]]) -> Panel:
    split = comparison.config.split
    frames, dataset = cache.split(split), cache.manifest.dataset
    content: CachedRig = frames[rig]
    height, width = content.images.shape[1:3]
    size = (round(VIEW_WIDTH * height / width), VIEW_WIDTH)
    points = _points(content, dataset.native_size, size)
    strips, truth = [Strip("LiDAR", _depth_url(points))], points
    if frames.record.dense_depth:
        truth = _dense(frames.dense_depth(rig), size)
        strips.append(Strip("dense depth", _depth_url(truth)))
    for teacher in frames.record.teachers_complete:
        targets = cache.targets(split, teacher)
        depth = _teacher_depth(content, targets[rig], targets.spec, dataset.native_size)
        strips.append(_prediction(f"teacher {teacher}, aligned", _resized(depth, size), truth))
    for name, predict in predictors.items():
        strips.append(_prediction(name, _resized(predict(content), size), truth))
    order = columns(len(dataset.cameras))
    return Panel(
        title=f"{content.scene} / {content.sample}",
        truth="dense depth" if frames.record.dense_depth else "LiDAR points",
        cameras=tuple(dataset.cameras[view] for view in order),
        image=_url(_in_a_row(np.stack([_shrunk(image, size) for image in content.images]))),
        strips=tuple(strips),
    )


def _student(comparison: Comparison, variant: str) -> Callable[[CachedRig], Maps]:
    device = choose_device(comparison.config.cache.device)
    student = load_student(comparison.run(variant, comparison.seeds[0]) / "student", device)

    def predict(rig: CachedRig) -> Maps:
        images = torch.from_numpy(resize_images(rig.images, student.config.image_size or rig.images.shape[1:3]))
        with torch.inference_mode():
            depth_m: Maps = student(images[None].to(device)).depth_m[0].float().cpu().numpy()
        return depth_m

    return predict


def _teacher_depth(rig: CachedRig, targets: CachedTargets, spec: TargetSpec, native_size: tuple[int, int]) -> Maps:
    """The expected disparity of each view, brought to metres at its LiDAR points."""
    disparity = np.asarray(expected_position(expand(targets.encoded, spec), spec.bins))
    depth = np.full_like(disparity, np.nan)
    for view, points in enumerate(rig.lidar):
        if len(points.depth_m):
            centres = points.uv_px.astype(np.float64) + 0.5
            a, b = fit_disparity(at_native_points(disparity[view], centres, native_size), points.depth_m)
            depth[view] = depth_from_disparity(a * disparity[view].ravel() + b, FAR_M).reshape(disparity[view].shape)
    return depth


def _prediction(name: str, depth_m: Maps, truth_m: Maps) -> Strip:
    known = (truth_m > 0) & (truth_m < FAR_M) & np.isfinite(depth_m)
    error = np.where(known, np.abs(depth_m - truth_m) / np.where(known, truth_m, 1), np.nan)
    abs_rel = float(error[known].mean()) if known.any() else None
    return Strip(name, _depth_url(depth_m), _error_url(error), abs_rel)


def _depth_url(depth_m: Maps) -> str:
    known = np.isfinite(depth_m) & (depth_m > 0)
    low, high = np.log(DEPTH_M)
    level = (np.log(np.where(known, depth_m, 1)) - low) / (high - low)
    return _url(_in_a_row(_painted(level, known, DEPTH_COLOURS)))


def _error_url(error: Maps) -> str:
    known = np.isfinite(error)
    return _url(_in_a_row(_painted(np.where(known, error, 0) / ERROR, known, ERROR_COLOURS)))


def _painted(level: Maps, known: Bool[np.ndarray, "V H W"], colours: str) -> UInt8[np.ndarray, "V H W 4"]:
    """RGBA: what is not known is transparent."""
    rgba: UInt8[np.ndarray, "V H W 4"] = (colormaps[colours](np.clip(level, 0, 1)) * 255).round().astype(np.uint8)
    rgba[~known] = 0
    return rgba


def _points(rig: CachedRig, native_size: tuple[int, int], size: tuple[int, int]) -> Maps:
    """LiDAR points as dots of 2 × 2 pixels that can be seen, near ones before far ones; 0 elsewhere."""
    maps = np.zeros((len(rig.lidar), *size), np.float32)
    for view, points in enumerate(rig.lidar):
        far_first = np.argsort(-points.depth_m)
        x, y = ((points.uv_px[far_first] + 0.5) * np.divide(size, native_size)[::-1]).astype(int).T
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            row, column = np.minimum(y + down, size[0] - 1), np.minimum(x + right, size[1] - 1)
            maps[view, row, column] = points.depth_m[far_first]
    return maps


def _dense(depth_m: Maps, size: tuple[int, int]) -> Shown:
    """The value at the centre of each pixel: depths are not to be mixed over an edge."""
    rows = (2 * np.arange(size[0]) + 1) * depth_m.shape[1] // (2 * size[0])
    places = (2 * np.arange(size[1]) + 1) * depth_m.shape[2] // (2 * size[1])
    return depth_m[:, rows[:, None], places]


def _resized(depth_m: Maps, size: tuple[int, int]) -> Shown:
    given = torch.from_numpy(np.ascontiguousarray(depth_m, dtype=np.float32))[None]
    resized: Shown = interpolate(given, size, mode="bilinear", align_corners=False)[0].numpy()
    return resized


def _shrunk(image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 4"]:
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS).convert("RGBA"))


def _in_a_row(views: UInt8[np.ndarray, "V H W 4"]) -> UInt8[np.ndarray, "H L 4"]:
    """Views side by side as on a picture sheet, with transparent gaps."""
    count, height, width, _ = views.shape
    row = np.zeros((height, count * (width + GAP) - GAP, 4), np.uint8)
    for place, view in enumerate(columns(count)):
        left = place * (width + GAP)
        row[:, left : left + width] = views[view]
    return row


def _url(pixels: UInt8[np.ndarray, "H L 4"]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def colour_bar(colours: str) -> str:
    """A colour map as a CSS gradient, from its low end to its high end."""
    stops = [colormaps[colours](level)[:3] for level in np.linspace(0, 1, 12)]
    listed = ", ".join("#" + "".join(f"{round(255 * part):02x}" for part in stop) for stop in stops)
    return f"linear-gradient(to right, {listed})"
