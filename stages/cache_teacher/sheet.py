"""One rig of a cache as one picture, to see whether stage 1 did the right thing. Only this module draws."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from PIL import Image

from cache_schema import Cache, TargetSpec, TeacherRecord
from cache_schema.cache import CachedRig, CachedTargets
from cache_schema.errors import CacheError
from cache_schema.frames import LidarView
from cache_schema.soft_targets import Moments, Probabilities, expand, moments_of, spread_limits
from stages.picture_file import write_picture

DPI = 150
ROOM_FOR_PANELS_IN = 14.55
PANEL_WIDTH_IN = (2.0, 5.0)
GAP_IN = 0.05
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 0.4, 1.05, 0.95, 0.1

DEPTH_RANGE_M = (2.0, 200.0)
"""Of the colours of LiDAR points: the same on every sheet, so that sheets can be compared."""
DEPTH_TICKS_M = (2, 5, 10, 20, 50, 100, 200)
POINT_AREA = 2.0  # points²: about three pixels across
OWN_CAR = (1.0, 0.1, 0.6)
UNTAUGHT = (0.5, 0.5, 0.5)

RGB = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Scale:
    """The colours of a row, and what its colour bar says; `top_is_low` turns the bar over."""

    norm: Normalize
    colours: str
    label: str
    ticks: Mapping[float, str]
    extend: Literal["neither", "both"] = "neither"
    top_is_low: bool = False


DEPTH_SCALE = Scale(
    LogNorm(*DEPTH_RANGE_M), "turbo_r", "depth in m", {float(m): str(m) for m in DEPTH_TICKS_M}, "both", top_is_low=True
)


@dataclass(frozen=True)
class Row:
    """One row of panels: `paint` fills the panel of a camera and returns the note in its corner."""

    name: str
    paint: Callable[[Axes, int], str]
    scale: Scale | None = None


def write_sheet(cache: Cache, path: Path, *, split: str, rig: int, teacher: str | None) -> None:
    """Write the sheet of one rig as a PNG or JPEG file; without a teacher, its rows are left out.

    Raises CacheMissingError or CacheIncompleteError for the split and the teacher, CacheError for the rig, ConfigError
    for the file.
    """
    write_picture(path, _pixels(draw(cache, split=split, rig=rig, teacher=teacher)), dpi=(DPI, DPI))


def png(figure: Figure) -> bytes:
    """A drawn sheet as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(_pixels(figure)).save(file, "PNG", dpi=(DPI, DPI))
    return file.getvalue()


def _pixels(figure: Figure) -> RGB:
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib gives it no types
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def draw(cache: Cache, *, split: str, rig: int, teacher: str | None) -> Figure:
    """Draw the sheet: a column per camera as `columns` orders them, a row per thing that stage 1 stored.

    Warm is near in the rows of the LiDAR and of the teacher alike. Raises as `write_sheet` does.
    """
    frames = cache.split(split)
    if not 0 <= rig < len(frames):
        raise CacheError(f"split {split} has no rig {rig}; it has rigs 0 to {len(frames) - 1}")
    content: CachedRig = frames[rig]
    dataset = cache.manifest.dataset
    rows = [image_row(content), lidar_row(content, dataset.native_size)]
    title = [
        f"{dataset.name}, version {dataset.version} · {split} · rig {rig} (of {len(frames)})",
        f"{content.scene} / {content.sample}",
    ]
    if teacher is not None:
        targets = cache.targets(split, teacher)
        rows += _teacher_rows(content, targets[rig], targets.spec, dataset.native_size)
        title.append(_teacher_title(teacher, cache.manifest.teachers[teacher]))
    rows.append(_ego_mask_row(content))
    return lay_out(title, camera_titles(dataset.cameras, content.rig_from_camera), rows, content.images.shape[1:3])


def columns(count: int) -> list[int]:
    """Cameras from left to right, as a person sees them who stands in the car and looks ahead.

    The ring begins in front and turns counter-clockwise, so camera 0 comes to the middle, the first half of the
    ring to its left in reverse, and the rest to its right: neighbours stay neighbours, as in a panorama that is
    cut at the back. Of an even number of cameras the hindmost is the rightmost.
    """
    left = (count - 1) // 2
    return [*range(left, 0, -1), 0, *range(count - 1, left, -1)]


def lidar_agreement(
    u: Float[np.ndarray, "h w"], world: Bool[np.ndarray, "H W"], lidar: LidarView, native_hw: tuple[int, int]
) -> float:
    """Spearman's rank correlation of a teacher's u with LiDAR disparity at the points beside the own car.

    1: near and far as the LiDAR says, −1: swapped, about 0: another view. NaN without points, or where u is constant.
    """

    def at_points(field: np.ndarray) -> np.ndarray:
        cell = ((lidar.uv_px + 0.5) * np.divide(field.shape, native_hw)[::-1]).astype(int)
        return np.asarray(field[cell[:, 1], cell[:, 0]])

    seen = at_points(world)
    a, b = _ranks(at_points(u)[seen]), _ranks(-lidar.depth_m[seen])
    if not (a.size and np.ptp(a) and np.ptp(b)):
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Float[np.ndarray, "point"]) -> Float64[np.ndarray, "point"]:
    """Equal values share a rank, lest the order of the points pass for the teacher's."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - counts / 2)[which])


def image_row(rig: CachedRig) -> Row:
    """The images as they are cached."""

    def paint(axes: Axes, camera: int) -> str:
        axes.imshow(rig.images[camera])
        return ""

    return Row("image", paint)


def lidar_row(rig: CachedRig, native_hw: tuple[int, int]) -> Row:
    """LiDAR points over darkened images."""
    stored_from_native = np.array(rig.images.shape[2:0:-1]) / native_hw[::-1]

    def paint(axes: Axes, camera: int) -> str:
        axes.imshow(_grey(rig.images[camera], 0.45))
        points = rig.lidar[camera]
        u, v = ((points.uv_px + 0.5) * stored_from_native - 0.5).T  # imshow has the centre of pixel 0 at 0
        far_first = np.argsort(-points.depth_m)
        depth_m = points.depth_m[far_first]
        axes.scatter(
            u[far_first], v[far_first], POINT_AREA, depth_m, linewidths=0,
            norm=DEPTH_SCALE.norm, cmap=DEPTH_SCALE.colours,
        )  # fmt: skip
        return f"{len(depth_m):,} points"

    return Row("LiDAR", paint, DEPTH_SCALE)


def _teacher_rows(rig: CachedRig, targets: CachedTargets, spec: TargetSpec, native_hw: tuple[int, int]) -> list[Row]:
    moments = moments_of(Probabilities(expand(targets.encoded, spec)), spec.bins)
    return [_mean_row(rig, moments, native_hw), _spread_row(rig, moments, spec)]


def _mean_row(rig: CachedRig, moments: Moments, native_hw: tuple[int, int]) -> Row:
    scale = Scale(Normalize(0, 1), "turbo", "disparity u", {0.0: "0 far", 0.5: "0.5", 1.0: "1 near"})

    def paint(axes: Axes, camera: int) -> str:
        u, world = moments.mean[camera], rig.ego_mask[camera]
        _paint_field(axes, u, scale, world)
        agreement = lidar_agreement(u, world, rig.lidar[camera], native_hw)
        return "no order to compare with LiDAR" if np.isnan(agreement) else f"rank agreement with LiDAR {agreement:.2f}"

    return Row("teacher: u", paint, scale)


def _spread_row(rig: CachedRig, moments: Moments, spec: TargetSpec) -> Row:
    certain = spread_limits(spec.bins)[0]
    highest = max(float(np.quantile(moments.spread, 0.99)), 2 * certain)
    ticks = {certain: f"{certain:.3f}\nno doubt", highest: f"{highest:.3f}"}
    scale = Scale(Normalize(certain, highest), "magma", "spread of u", ticks, extend="both")

    def paint(axes: Axes, camera: int) -> str:
        _paint_field(axes, moments.spread[camera], scale, rig.ego_mask[camera])
        return ""

    return Row("teacher: spread", paint, scale)


def _ego_mask_row(rig: CachedRig) -> Row:
    def paint(axes: Axes, camera: int) -> str:
        world = rig.ego_mask[camera]
        axes.imshow(_grey(rig.images[camera], 0.8))
        axes.imshow(_veil(world, OWN_CAR, 0.6))
        return "no mask" if world.all() else f"own car {np.mean(~world):.0%}"

    return Row("ego mask", paint)


def _paint_field(axes: Axes, field: Float[np.ndarray, "h w"], scale: Scale, world: Bool[np.ndarray, "H W"]) -> None:
    """A field of the teacher's grid in the coordinates of the stored image; grey where nothing is taught from it."""
    H, W = world.shape
    axes.imshow(field, norm=scale.norm, cmap=scale.colours, extent=(-0.5, W - 0.5, H - 0.5, -0.5))
    axes.imshow(_veil(world, UNTAUGHT, 0.7))


def _grey(image: RGB, brightness: float) -> RGB:
    """A darker version without colour, on which colours stand out."""
    grey = brightness * image.mean(axis=-1, keepdims=True)
    return np.broadcast_to(grey, image.shape).astype(np.uint8)


def _veil(
    world: Bool[np.ndarray, "H W"], colour: tuple[float, float, float], alpha: float
) -> Float64[np.ndarray, "H W 4"]:
    """RGBA: the colour over the own car, nothing over the world."""
    return np.where(world[..., None], 0.0, np.array([*colour, alpha]))


def camera_titles(cameras: Sequence[str], rig_from_camera: Float64[np.ndarray, "V 4 4"]) -> list[str]:
    """Every camera, and where it looks."""
    return [f"{name} · {_heading(pose[:2, 2])}" for name, pose in zip(cameras, rig_from_camera, strict=True)]


def _heading(axis_xy: Float64[np.ndarray, "2"]) -> str:
    """Where an optical axis points, seen from above in the rig frame (x forward, y left)."""
    degrees = round(float(np.degrees(np.arctan2(axis_xy[1], axis_xy[0]))))
    if abs(degrees) in (0, 180):
        return "ahead" if degrees == 0 else "back"
    return f"{abs(degrees)}° {'left' if degrees > 0 else 'right'}"


def _teacher_title(name: str, record: TeacherRecord) -> str:
    who = record.identity.id if record.identity.id == name else f"{name} ({record.identity.id})"
    return f"teacher {who} · {record.identity.kind} · {record.targets.encoding}, {record.targets.bins.count} bins"


def lay_out(title: Sequence[str], cameras: Sequence[str], rows: Sequence[Row], image_hw: tuple[int, int]) -> Figure:
    """Put the panels on a figure that just holds them, in inches, so that no panel is stretched."""
    count = len(cameras)
    width = float(np.clip(ROOM_FOR_PANELS_IN / count - GAP_IN, *PANEL_WIDTH_IN))
    height = width * image_hw[0] / image_hw[1]
    size = (
        LEFT_IN + count * (width + GAP_IN) + RIGHT_IN,
        TOP_IN + len(rows) * (height + GAP_IN) + BOTTOM_IN,
    )
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    _write_title(figure, title)

    def place(row: int, left: float, width: float, name: str, inset: float = 0.0) -> Axes:
        bottom = size[1] - TOP_IN - row * (height + GAP_IN) - height
        box = np.array([left, bottom + inset, width, height - 2 * inset]) / [*size, *size]
        return figure.add_axes(tuple(box), label=name)

    for r, row in enumerate(rows):
        for c, camera in enumerate(columns(count)):
            axes = place(r, LEFT_IN + c * (width + GAP_IN), width, f"{row.name}/{cameras[camera]}")
            _finish_panel(axes, row.paint(axes, camera), image_hw)
            if r == 0:
                axes.set_title(cameras[camera], fontsize=9, pad=5, parse_math=False)
            if c == 0:
                axes.set_ylabel(row.name, fontsize=10, fontweight="bold")
        if row.scale is not None:
            bar = place(r, LEFT_IN + count * (width + GAP_IN) + 0.05, 0.14, f"{row.name}/colours", inset=0.08)
            _draw_scale(figure, bar, row.scale)
    return figure


def _write_title(figure: Figure, lines: Sequence[str]) -> None:
    width, height = figure.get_size_inches()
    for i, line in enumerate(lines):
        figure.text(
            LEFT_IN / width,
            1 - (0.12 + 0.2 * i) / height,
            line,
            fontsize=12 if i == 0 else 10,
            fontweight="bold" if i == 0 else "normal",
            verticalalignment="top",
            parse_math=False,  # a name may hold a $
        )


def _finish_panel(axes: Axes, note: str, image_hw: tuple[int, int]) -> None:
    axes.set(xticks=[], yticks=[], xlim=(-0.5, image_hw[1] - 0.5), ylim=(image_hw[0] - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    if note:
        box = {"facecolor": "black", "alpha": 0.7, "linewidth": 0, "pad": 2}
        axes.text(0.015, 0.97, note, transform=axes.transAxes, color="white", fontsize=8, va="top", bbox=box)


def _draw_scale(figure: Figure, axes: Axes, scale: Scale) -> None:
    bar = figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=axes, extend=scale.extend)
    bar.set_ticks(list(scale.ticks), labels=list(scale.ticks.values()))
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    bar.set_label(scale.label, fontsize=9)
    if scale.top_is_low:
        bar.ax.invert_yaxis()
