"""The picture of a cached rig: what is on it, and that each thing is where its camera is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cache_schema import Cache
from cache_schema.errors import CacheError, CacheMissingError
from cache_schema.frames import LidarView
from stages.cache_teacher.sheet import columns, draw, lidar_agreement, write_sheet
from tests.tiny_cache import CAMERAS, NATIVE, write_tiny_cache

LEFT_TO_RIGHT = ["LEFT", "FRONT", "RIGHT", "REAR"]
TEACHER_ROWS = ["teacher: u", "teacher: spread"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr", rigs=2, splits=("train",)))


@pytest.fixture(scope="module")
def figure(cache: Cache) -> Figure:
    return draw(cache, split="train", rig=1, teacher="tiny")


def panels(figure: Figure) -> dict[tuple[str, str], Axes]:
    """Panels by row and camera, the order that of the page."""
    named = [(tuple(str(axes.get_label()).split("/")), axes) for axes in figure.axes]
    return {(row, column.partition(" ")[0]): axes for (row, column), axes in named if column != "colours"}


def note(axes: Axes) -> str:
    return axes.texts[0].get_text() if axes.texts else ""


def test_the_sheet_is_one_png_of_moderate_size(cache: Cache, tmp_path: Path) -> None:
    file = tmp_path / "new" / "sheet.png"
    write_sheet(cache, file, split="train", rig=0, teacher="tiny")
    with Image.open(file) as image:
        image.load()
        assert image.format == "PNG"
        assert 2000 < image.width < 2600
    assert file.stat().st_size < 4e6


def test_a_column_per_camera_and_a_row_per_thing(figure: Figure) -> None:
    rows = ["image", "LiDAR", *TEACHER_ROWS, "ego mask"]
    assert list(panels(figure)) == [(row, camera) for row in rows for camera in LEFT_TO_RIGHT]


def test_without_a_teacher_its_rows_are_left_out(cache: Cache) -> None:
    figure = draw(cache, split="train", rig=0, teacher=None)
    assert list(dict.fromkeys(row for row, _ in panels(figure))) == ["image", "LiDAR", "ego mask"]
    assert not any("teacher" in text.get_text() for text in figure.texts)


@pytest.mark.parametrize(
    ("count", "order"), [(1, [0]), (2, [0, 1]), (3, [1, 0, 2]), (4, [1, 0, 3, 2]), (6, [2, 1, 0, 5, 4, 3])]
)
def test_the_front_camera_is_in_the_middle_and_the_left_ones_to_its_left(count: int, order: list[int]) -> None:
    assert columns(count) == order


def test_the_title_says_what_is_seen(figure: Figure) -> None:
    title = "\n".join(text.get_text() for text in figure.texts)
    assert title == (
        "tiny, version 1 · train · rig 1 (of 2)\n"
        "scene_00 / 000001\n"
        "teacher tiny · disparity_affine_invariant · moments, 16 bins"
    )


def test_every_camera_has_its_own_image(cache: Cache, figure: Figure) -> None:
    images = cache.split("train")[1].images
    for view, camera in enumerate(CAMERAS):
        np.testing.assert_array_equal(panels(figure)["image", camera].images[0].get_array(), images[view])


def test_every_lidar_point_is_drawn_where_it_is_in_the_stored_image(cache: Cache, figure: Figure) -> None:
    rig = cache.split("train")[1]
    scale = rig.images.shape[1] / NATIVE[0]
    for view, camera in enumerate(CAMERAS):
        points = panels(figure)["LiDAR", camera].collections[0]
        drawn = np.column_stack([np.asarray(points.get_offsets()), np.asarray(points.get_array())])
        centres = (rig.lidar[view].uv_px + 0.5) * scale - 0.5
        stored = np.column_stack([centres, rig.lidar[view].depth_m])
        assert len(drawn) == len(stored) == 600
        np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], stored[np.lexsort(stored.T)], rtol=1e-6)
        assert note(panels(figure)["LiDAR", camera]) == "600 points"


def test_an_ego_mask_is_tinted_and_its_absence_said(cache: Cache, figure: Figure) -> None:
    world = cache.split("train")[1].ego_mask[CAMERAS.index("LEFT")]
    masked = panels(figure)["ego mask", "LEFT"]
    np.testing.assert_array_equal(np.asarray(masked.images[1].get_array())[..., 3] > 0, ~world)
    assert note(masked) == f"own car {np.mean(~world):.0%}"
    assert [note(panels(figure)["ego mask", camera]) for camera in ("FRONT", "RIGHT", "REAR")] == ["no mask"] * 3


@pytest.mark.parametrize("encoding", ["moments", "topk", "dense"])
def test_the_teacher_looks_the_same_in_every_encoding(figure: Figure, tmp_path: Path, encoding: str) -> None:
    other = write_tiny_cache(tmp_path / "zarr", rigs=2, splits=("train",), encoding=encoding)
    drawn = draw(Cache(other), split="train", rig=1, teacher="tiny")
    for camera in CAMERAS:
        for row in TEACHER_ROWS:
            field, expected = (np.asarray(panels(f)[row, camera].images[0].get_array()) for f in (drawn, figure))
            np.testing.assert_allclose(field, expected, atol=0.03)  # top-k rounds, and spreads what is left


def test_a_good_teacher_agrees_with_the_lidar(figure: Figure) -> None:
    notes = [note(panels(figure)["teacher: u", camera]) for camera in CAMERAS]
    assert all(float(text.removeprefix("rank agreement with LiDAR ")) > 0.95 for text in notes)


def test_agreement_tells_an_inverted_teacher_and_a_dead_one() -> None:
    v, u = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    lidar = LidarView(np.stack([u, v], -1).reshape(-1, 2).astype(np.uint16), (9.0 - v).ravel().astype(np.float32))
    nearness, everywhere = v / 7, np.ones((8, 8), bool)
    assert lidar_agreement(nearness, everywhere, lidar, (8, 8)) == pytest.approx(1)
    assert lidar_agreement(1 - nearness, everywhere, lidar, (8, 8)) == pytest.approx(-1)
    assert np.isnan(lidar_agreement(0 * nearness, everywhere, lidar, (8, 8)))
    assert np.isnan(lidar_agreement(nearness, ~everywhere, lidar, (8, 8)))
    wrong_on_the_own_car = np.where(v < 4, nearness, 0)
    assert lidar_agreement(wrong_on_the_own_car, v < 4, lidar, (8, 8)) == pytest.approx(1)


@pytest.mark.parametrize("rig", [-1, 2])
def test_an_unknown_rig_is_refused_with_the_range(cache: Cache, rig: int) -> None:
    with pytest.raises(CacheError, match=rf"no rig {rig}; it has rigs 0 to 1"):
        draw(cache, split="train", rig=rig, teacher=None)


def test_an_unknown_split_or_teacher_is_refused_with_what_there_is(cache: Cache) -> None:
    with pytest.raises(CacheMissingError, match="it has: train"):
        draw(cache, split="test", rig=0, teacher=None)
    with pytest.raises(CacheMissingError, match="it has: tiny"):
        draw(cache, split="train", rig=0, teacher="other")
