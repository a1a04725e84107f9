"""Numbers that cannot be a LiDAR's points in metres are told from those that can, in a street and in a room."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import Sweep
from stages.cache_teacher.datasets.plausible_points import judge, sweep_doubts
from tests.real_data import real_data

CAMERA_M = 1.6
Columns = np.ndarray
"""x, y, z, intensity and ring of points, float32."""


def at_height(metres: float) -> np.ndarray:
    placement = np.eye(4)
    placement[2, 3] = metres
    return placement


def room(size_m: tuple[float, float, float], height_m: float, elevations_deg: np.ndarray) -> Columns:
    """What a LiDAR sees in a room of so many metres, or between walls under the sky."""
    azimuth, elevation = np.meshgrid(np.linspace(-np.pi, np.pi, 200), np.radians(elevations_deg))
    beams = np.stack([np.cos(azimuth), np.sin(azimuth), np.tan(elevation)], axis=-1).reshape(-1, 3)
    low, high = -np.array([size_m[0] / 2, size_m[1] / 2, height_m]), np.array([*size_m[:2], 0]) / 2
    high[2] = size_m[2] - height_m
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.where(beams > 0, high, low) / beams
    along = np.where(along > 0, along, np.inf).min(axis=1)
    beams, along = beams[np.isfinite(along)], along[np.isfinite(along)]
    points = beams * along[:, None]
    random = np.random.default_rng(0)
    return np.column_stack([points, random.random(len(points)), np.arange(len(points)) % 32]).astype(np.float32)


STREET = room((120, 18, np.inf), 1.9, np.linspace(-25, 5, 32))
PLACES = {
    "street": (STREET, 1.9, 1.6),
    "eight beams": (room((120, 40, np.inf), 1.9, np.linspace(-15, 5, 8)), 1.9, 1.6),
    "four beams": (room((80, 60, np.inf), 0.5, np.array([-2.4, -0.8, 0.8, 2.4])), 0.5, 1.4),
    "one beam": (room((10, 8, np.inf), 0.3, np.zeros(1)), 0.3, 0.6),
    "one beam on the roof": (room((60, 14, np.inf), 2.9, np.zeros(1)), 2.9, 1.5),
    "front only": (STREET[STREET[:, 0] > np.abs(STREET[:, 1])], 1.9, 1.6),
    "truck": (room((100, 60, np.inf), 3.2, np.linspace(-30, 10, 32)), 3.2, 2.8),
    "narrow street, tall houses": (room((200, 14, 40), 1.9, np.linspace(-45, 45, 64)), 1.9, 1.6),
    "room of docs/folder.md": (room((20, 20, np.inf), 1.9, np.linspace(-25, 5, 24)), 1.9, 1.6),
    "robot in an office": (room((6, 5, 2.6), 0.4, np.linspace(-15, 15, 16)), 0.4, 0.5),
    "robot in a corridor": (room((40, 2, 2.6), 0.4, np.linspace(-45, 45, 64)), 0.4, 0.5),
}


def xyz(points: Columns) -> np.ndarray:
    return points[:, :3]


def reread(columns: int, dtype: str, read_columns: int) -> Callable[[Columns], np.ndarray]:
    """Points of so many columns as a .bin, read with other ones."""

    def read(points: Columns) -> np.ndarray:
        numbers = np.frombuffer(points[:, :columns].astype(dtype).tobytes(), "<f4")
        return numbers[: numbers.size // read_columns * read_columns].reshape(-1, read_columns)[:, :3]

    return read


IMPOSSIBLE: dict[str, tuple[Callable[[Columns], np.ndarray], str]] = {
    "millimetres": (lambda p: xyz(p) * 1000, "not in metres"),
    "centimetres": (lambda p: xyz(p) * 100, "not in metres"),
    "inches": (lambda p: xyz(p) / 0.0254, "not in metres"),
    "kilometres": (lambda p: xyz(p) / 1000, "not in metres"),
    "scaled to a cube of 1": (lambda p: xyz(p) / 400, "not in metres"),
    "intensity first": (lambda p: p[:, [3, 0, 1]], "deep under the car"),
    "ring first": (lambda p: p[:, [4, 0, 1]], "deep under the car"),
    "y and z swapped": (lambda p: p[:, [0, 2, 1]], "deep under the car"),
    "a camera's axes": (lambda p: np.stack([-p[:, 1], -p[:, 2], p[:, 0]], axis=1), "deep under the car"),
    "five columns read as four": (reread(5, "<f4", 4), "deep under the car"),
    "four columns read as five": (reread(4, "<f4", 5), "deep under the car"),
    "three columns read as four": (reread(3, "<f4", 4), "deep under the car"),
    "float64 read as float32": (reread(4, "<f8", 4), "float64 is read as float32"),
    "float64 of five columns": (reread(5, "<f8", 5), "float64 is read as float32"),
    "big endian": (reread(4, ">f4", 4), "float64 is read as float32"),
    "whole millimetres": (lambda p: (xyz(p) * 1000).astype(np.int32).view(np.float32), "float64 is read as float32"),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_sensors_see_is_clean(place: str):
    points, lidar_m, camera_m = PLACES[place]
    verdict = judge(xyz(points), at_height(lidar_m), [camera_m])
    assert verdict.clean, verdict


@pytest.mark.parametrize("mistake", IMPOSSIBLE)
@pytest.mark.parametrize("place", ["street", "truck"])
def test_what_cannot_be_metres_is_told(place: str, mistake: str):
    points, lidar_m, camera_m = PLACES[place]
    wrong, found = IMPOSSIBLE[mistake]
    verdict = judge(wrong(points), at_height(lidar_m), [camera_m])
    assert verdict.impossible is not None
    assert found in verdict.impossible


@pytest.mark.parametrize("mistake", ["millimetres", "centimetres", "inches", "kilometres", "float64 read as float32"])
@pytest.mark.parametrize("place", PLACES)
def test_units_and_types_are_told_in_every_place(place: str, mistake: str):
    points, lidar_m, camera_m = PLACES[place]
    assert judge(IMPOSSIBLE[mistake][0](points), at_height(lidar_m), [camera_m]).impossible is not None


@pytest.mark.parametrize("place", ["street", "eight beams", "room of docs/folder.md"])
def test_feet_are_doubtful(place: str):
    points, lidar_m, camera_m = PLACES[place]
    verdict = judge(xyz(points) / 0.3048, at_height(lidar_m), [camera_m])
    assert verdict.impossible is None
    assert "m above the ground: are points in metres" in verdict.doubts[0]


def test_beams_that_met_nothing_do_not_count():
    points = np.concatenate([xyz(STREET), np.full((9000, 3), np.nan), np.zeros((9000, 3)), np.full((9000, 3), np.inf)])
    assert judge(points, at_height(1.9), [CAMERA_M]).clean
    assert "no point in it is finite" in judge(points[-9000:], at_height(1.9), [CAMERA_M]).doubts[0]


def test_another_reading_of_a_doubtful_file_that_fits_is_named():
    points, lidar_m, camera_m = PLACES["robot in a corridor"]
    wrong = reread(5, "<f4", 4)(points)
    assert judge(wrong, at_height(lidar_m), [camera_m]).impossible is None, "in a corridor this alone is only doubtful"
    sweep = Sweep("000.bin", wrong, at_height(lidar_m), lambda: {"5 columns of float32": xyz(points)})
    *_, said = sweep_doubts(sweep, at_height(camera_m)[None])
    assert said == "read as 5 columns of float32 it looks like a sweep"


def test_of_a_few_points_no_other_reading_is_named():
    points, lidar_m, camera_m = PLACES["street"]
    sweep = Sweep("000.bin", xyz(points)[:9], at_height(lidar_m), lambda: {"3 columns of float32": xyz(points)})
    assert sweep_doubts(sweep, at_height(camera_m)[None]) == ("it holds 9 points: is that all that the LiDAR saw?",)


def test_a_high_hall_is_no_error_for_its_intensities():
    """Their column instead of x makes any cloud flat, as a street is."""
    points, lidar_m, camera_m = room((8, 8, 9), 1.9, np.linspace(-40, 80, 64)), 1.9, 1.5
    flat = np.column_stack([xyz(points)[:, 1:], np.full(len(points), 0.3)])
    sweep = Sweep("000.bin", xyz(points), at_height(lidar_m), lambda: {"x, y and z after the first column": flat})
    assert sweep_doubts(sweep, at_height(camera_m)[None]) != ()


def as_ranges(points: Columns, turn: float, *, positive: bool) -> np.ndarray:
    """Range, azimuth and elevation."""
    x, y, z = xyz(points).T.astype(np.float64)
    azimuth, elevation = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    if positive:
        azimuth = azimuth % (2 * np.pi)
    return np.stack([np.linalg.norm(xyz(points), axis=1), azimuth * turn, elevation * turn], axis=1).astype(np.float32)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (0, 2, 1)], ids=["range first", "range last", "elevation 2nd"])
@pytest.mark.parametrize(("unit", "turn"), [("radians", 1), ("degrees", 180 / np.pi)])
@pytest.mark.parametrize("place", ["street", "truck", "eight beams"])
def test_ranges_and_angles_are_told(place: str, unit: str, turn: float, order: tuple[int, int, int], *, positive: bool):
    points, lidar_m, camera_m = PLACES[place]
    sweep = Sweep("0.npz", as_ranges(points, turn, positive=positive)[:, order], at_height(lidar_m))
    names = np.array(["range", "azimuth", "elevation"])[list(order)]
    said = rf"0\.npz: its columns look like {names[0]}, {names[1]} and {names[2]} in {unit}; .* sin\(elevation\)"
    with pytest.raises(DatasetError, match=said):
        sweep_doubts(sweep, at_height(camera_m)[None])


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)], ids=["range first", "range last", "range 2nd"])
@pytest.mark.parametrize(("unit", "turn"), [("radians", 1), ("degrees", 180 / np.pi)])
@pytest.mark.parametrize("third", ["zenith angle", "z"])
@pytest.mark.parametrize("place", ["street", "truck", "eight beams"])
def test_zenith_angles_and_cylinders_are_told(place: str, third: str, unit: str, turn: float, order: tuple[int, ...]):
    points, lidar_m, camera_m = PLACES[place]
    columns = as_ranges(points, turn, positive=False)
    if third == "z":
        columns[:, 0], columns[:, 2] = np.hypot(points[:, 0], points[:, 1]), points[:, 2]
    else:
        columns[:, 2] = turn * np.pi / 2 - columns[:, 2]
    sweep = Sweep("0.npz", columns[:, order], at_height(lidar_m))
    names = np.array(["range", "azimuth", third])[list(order)]
    said = rf"{names[0]}, {names[1]} and {names[2]} in {unit}"
    if third == "z" and unit == "radians":
        assert f"its columns look like {said} and metres, too" in sweep_doubts(sweep, at_height(camera_m)[None])
        return
    also = " and metres; .* z" if third == "z" else r"; .* cos\(zenith angle\)"
    with pytest.raises(DatasetError, match=f"its columns look like .*{said}{also}$"):
        sweep_doubts(sweep, at_height(camera_m)[None])


@pytest.mark.parametrize("width_m", [6.0, 6.25])
@pytest.mark.parametrize("nearest_m", [0.0, 3.0])
def test_a_lane_that_was_cut_out_is_not_taken_for_a_cylinder(width_m: float, nearest_m: float):
    for points in (STREET, PLACES["truck"][0], PLACES["robot in a corridor"][0]):
        lane = points[(points[:, 0] >= nearest_m) & (np.abs(points[:, 1]) <= width_m / 2)]
        said = sweep_doubts(Sweep("0.npz", xyz(lane), at_height(1.9)), at_height(1.6)[None])
        assert not any("columns" in doubt for doubt in said)


@pytest.mark.parametrize("place", PLACES)
def test_points_are_not_taken_for_angles(place: str):
    """Nor where only those ahead are kept, and the room is about 2π wide."""
    points, lidar_m, camera_m = PLACES[place]
    wide = room((40, 6.28, 2.4), 1.2, np.linspace(-45, 45, 64))
    for kept in (points, points[points[:, 0] >= 0], wide, wide[wide[:, 0] >= 0]):
        sweep = Sweep("0.npz", xyz(kept), at_height(lidar_m))
        assert not any("columns" in doubt for doubt in sweep_doubts(sweep, at_height(camera_m)[None]))


@pytest.mark.parametrize("place", ["street", "truck", "robot in an office"])
def test_big_endian_points_are_told(place: str):
    points, lidar_m, camera_m = PLACES[place]
    sweep = Sweep("0.bin", xyz(points).byteswap(), at_height(lidar_m))
    with pytest.raises(DatasetError, match=r"0\.bin: .*; read as big-endian float32 it looks like a sweep: mend it"):
        sweep_doubts(sweep, at_height(camera_m)[None])


@pytest.mark.parametrize("place", ["street", "truck"])
@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (lambda p: np.stack([p[:, 0], p[:, 2], -p[:, 1]], axis=1), "with y up it looks"),
        (lambda p: np.stack([-p[:, 1], -p[:, 2], p[:, 0]], axis=1), "with y down .a camera's frame. it looks"),
    ],
)
def test_other_axes_are_told(place: str, axes: Callable[[Columns], np.ndarray], said: str):
    points, lidar_m, camera_m = PLACES[place]
    with pytest.raises(DatasetError, match=said):
        sweep_doubts(Sweep("0.npz", axes(points), at_height(lidar_m)), at_height(camera_m)[None])


@pytest.mark.real_data
@pytest.mark.parametrize("scene", ["scene_01", "scene_02"])
def test_real_sweeps_are_clean_and_in_feet_doubtful(scene: str):
    """DDAD's points lie in the frame of the car, whose origin is on the ground, so that only distances show feet."""
    for file in sorted(real_data("ddad_sample", scene, "point_cloud", "LIDAR").iterdir()):
        points = np.load(file)["data"]
        assert judge(xyz(points), np.eye(4), [1.5]).clean
        assert sweep_doubts(Sweep("real", xyz(points), np.eye(4)), at_height(1.5)[None]) == ()
        ahead = xyz(points)[points[:, 0] >= 0]
        assert sweep_doubts(Sweep("real", ahead, np.eye(4)), at_height(1.5)[None]) == ()
        assert judge(xyz(points) / 0.3048, np.eye(4), [1.5]).doubts
        for mistake in ("millimetres", "centimetres", "intensity first", "y and z swapped"):
            assert judge(IMPOSSIBLE[mistake][0](points), np.eye(4), [1.5]).impossible is not None


@pytest.mark.real_data
def test_a_real_sweep_of_nuscenes_is_clean():
    (file,) = real_data("nuscenes_sample", "samples", "LIDAR_TOP").iterdir()
    points = np.fromfile(file, np.float32).reshape(-1, 5)
    assert judge(xyz(points), at_height(1.84), [1.5]).clean
    assert sweep_doubts(Sweep("real", xyz(points), at_height(1.84)), at_height(1.5)[None]) == ()
    for wrong, _ in IMPOSSIBLE.values():
        assert judge(wrong(points), at_height(1.84), [1.5]).impossible is not None
