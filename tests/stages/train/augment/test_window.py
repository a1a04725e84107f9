from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cache_schema import LidarView
from cache_schema.soft_targets import Moments, certain_spread, expand
from stages.train.augment import WHOLE, Window
from stages.train.augment.window import GRAIN, look_through
from stages.train.images import resize_images
from stages.train.lidar_grid import rasterise
from stages.train.loader import RigDataset, resize_mask
from stages.train.targets import resample, teacher_targets
from tests.stages.train.augment.rigs import OneRig, OneTarget, random_batch, spec_of


@st.composite
def windows(draw: st.DrawFn, least: int = GRAIN // 4) -> Window:
    extent = draw(st.integers(least, GRAIN))
    top, left = draw(st.integers(0, GRAIN - extent)), draw(st.integers(0, GRAIN - extent))
    return Window(top=top, left=left, extent=extent)


sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
QUARTER = Window(top=GRAIN // 4, left=GRAIN // 2, extent=GRAIN // 2)
"""Of height and width one half, from 1/4 of the height and 1/2 of the width."""


def seen(values: torch.Tensor, window: Window, grid: tuple[int, int]) -> torch.Tensor:
    return look_through(values, window.shares()[None], grid)


def test_the_whole_window_shows_everything_as_it_is():
    values = torch.rand(1, 2, 3, 9, 14)
    assert torch.equal(seen(values, WHOLE, (9, 14)), values)


@pytest.mark.parametrize("grid", [(6, 8), (3, 4), (18, 24), (36, 40)])
def test_the_whole_window_on_another_grid_is_the_same_rule_as_without_windows(grid):
    values = torch.rand(1, 2, 3, 18, 24)
    torch.testing.assert_close(seen(values, WHOLE, grid), resample(values, grid))


def test_a_window_of_whole_cells_shows_those_cells():
    values = torch.rand(1, 2, 3, 8, 12)
    torch.testing.assert_close(seen(values, QUARTER, (4, 6)), values[..., 2:6, 6:12])


@settings(deadline=None)
@given(window=windows(), cells=sizes, grid=sizes, seed=st.integers(0, 999))
def test_probabilities_stay_probabilities(window, cells, grid, seed):
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randn(1, 2, 5, *cells, generator=generator).softmax(dim=2)
    found = seen(probability, window, grid)
    assert (found >= 0).all()
    torch.testing.assert_close(found.sum(dim=2), torch.ones(1, 2, *grid))


@settings(deadline=None)
@given(window=windows(), cells=sizes, grid=sizes)
def test_every_cell_shows_the_place_where_it_is(window, cells, grid):
    v, u = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in cells), indexing="ij")
    places = seen(torch.stack([v, u])[None, None], window, grid)[0, 0]
    start, extent = (window.top / GRAIN, window.left / GRAIN), window.extent / GRAIN
    for axis in (0, 1):
        there = start[axis] + extent * (torch.arange(grid[axis]) + 0.5) / grid[axis]
        reach = max(extent / grid[axis], 1 / cells[axis]) / 2  # beyond the last cells there is nothing to average
        inner = (there >= reach) & (there <= 1 - reach)
        found = places[axis].movedim(axis, 0)[inner]
        # A larger cell averages whole cells, of which it may cut the outer two at different parts.
        atol = 1e-5 if extent * cells[axis] <= grid[axis] else 0.126 / cells[axis]
        torch.testing.assert_close(found, there[inner, None].expand_as(found), atol=atol, rtol=0)


@settings(deadline=None)
@given(window=windows(least=1), u=st.integers(0, 1935), v=st.integers(0, 1215), size=sizes)
def test_a_point_goes_where_the_window_shows_it(window, u, v, size):
    found = rasterise(LidarView(np.array([[u, v]], np.uint16), np.ones(1, np.float32)), (1216, 1936), size, window)
    extent = Fraction(window.extent, GRAIN)
    row = floor((Fraction(v, 1216) - Fraction(window.top, GRAIN)) / extent * size[0])
    column = floor((Fraction(u, 1936) - Fraction(window.left, GRAIN)) / extent * size[1])
    inside = 0 <= row < size[0] and 0 <= column < size[1]
    assert np.argwhere(found).tolist() == ([[row, column]] if inside else [])


def test_the_own_car_is_where_the_window_shows_it():
    mask = np.random.default_rng(0).random((2, 16, 24)) < 0.5
    expected = mask[:, 4:12, 12:24].repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(resize_mask(mask, (16, 24), QUARTER), expected)
    assert np.array_equal(resize_mask(mask, (16, 24)), mask)


def test_images_show_the_window_and_nothing_else():
    v, u = np.mgrid[:64, :96] + 0.5
    image = np.stack([v * 3, u * 2, 0 * u], axis=-1).astype(np.uint8)
    window = Window(top=700, left=1100, extent=2900)
    found = resize_images(image[None], (64, 96), box_px=window.box_px(64, 96))[0].astype(float)
    zoomed_v, zoomed_u = (v * 2900 + 700 * 64) / GRAIN, (u * 2900 + 1100 * 96) / GRAIN
    assert np.abs(found[..., 0] - 3 * zoomed_v).max() < 2.5
    assert np.abs(found[..., 1] - 2 * zoomed_u).max() < 2.5
    whole = resize_images(image[None], (64, 96), box_px=WHOLE.box_px(64, 96))
    assert np.array_equal(whole[0], image)
    smaller = resize_images(image[None], (32, 48), box_px=WHOLE.box_px(64, 96))[0]
    assert np.array_equal(smaller, np.asarray(Image.fromarray(image).resize((48, 32), Image.Resampling.LANCZOS)))


@pytest.mark.parametrize("window", [WHOLE, QUARTER, Window(top=333, left=1234, extent=2800)])
@pytest.mark.parametrize("size", [(64, 96), (32, 48), (96, 144)])
def test_image_points_and_targets_of_a_cropped_rig_are_of_the_same_place(window: Window, size: tuple[int, int]):
    """Each tells how far right it is: the image by its brightness, a point by its depth, a target by its mean."""
    height, width, grid = 64, 96, (16, 24)
    bright = np.broadcast_to(((np.arange(width) + 0.5) * 2)[:, None], (1, height, width, 3)).astype(np.uint8)
    v, u = np.mgrid[:height, :width].reshape(2, -1)
    lidar = LidarView(np.stack([u, v], axis=1).astype(np.uint16), ((u + 0.5) / width).astype(np.float32))
    spec = spec_of(grid, bins=64)
    mean = np.broadcast_to((np.arange(24) + 0.5) / 24, (1, *grid))
    no_relation = np.zeros((0, 6, 6), np.float16)
    rigs = RigDataset(
        OneRig(bright, (lidar,), np.ones((1, height, width), bool)),
        OneTarget(spec, Moments(mean, certain_spread(mean, spec.bins)), no_relation),
        native_size=(height, width),
        image_size=size,
    )
    rig = rigs.seen(0, window)
    coarse = (size[0] // 4, size[1] // 4)
    targets = teacher_targets(rig.targets, rig.world, spec=spec, pairs=(), grid=coarse, sky_u=None, windows=rig.windows)
    image = rig.images[0, 0, :, :, 0].float() / (2 * width)
    inner = slice(size[1] // 8, -size[1] // 8)  # means of targets bend near 0 and 1, where the range of u ends
    torch.testing.assert_close(
        targets.disparity[0, 0, 2, inner.start // 4 : inner.stop // 4],
        image[8].reshape(-1, 4).mean(dim=1)[inner.start // 4 : inner.stop // 4],
        atol=0.03,
        rtol=0,
    )
    points = rig.lidar_depth_m[0, 0]
    hit = points > 0
    torch.testing.assert_close(points[hit], image[hit], atol=1.5 / width, rtol=0)


def test_what_is_left_out_takes_every_cell_with_it_that_it_is_part_of():
    spec = spec_of((8, 12))
    batch = random_batch(0, 1, spec)
    world = torch.ones(1, 1, 32, 48, dtype=torch.bool)
    world[0, 0, 17, 29] = False  # in row 4 and column 7 of the targets' cells
    window = Window(top=300, left=700, extent=3000)

    def mask(rig_world: torch.Tensor, sky_u: float | None = None) -> torch.Tensor:
        shares = window.shares()[None]
        options = {"spec": spec, "pairs": (), "grid": (8, 12), "sky_u": sky_u}
        return teacher_targets(batch.targets, rig_world, windows=shares, **options).mask

    marked = torch.zeros(1, 1, 1, 8, 12)
    marked[..., 4, 7] = 1
    assert torch.equal(~mask(world), seen(marked, window, (8, 12))[:, :, 0] > 1e-4)
    assert 1 < (~mask(world)).sum() < 16
    assert mask(torch.ones_like(world)).all()
    assert not mask(torch.ones_like(world), sky_u=0.99).all()


def test_expanding_first_differs_from_mixing_codes():
    """Why targets are cropped on the training device: the mean of two codes is a third, not a doubt between two."""
    spec = spec_of((1, 2))
    mean = np.array([[[[0.1, 0.9]]]])
    batch = OneTarget(spec, Moments(mean, certain_spread(mean, spec.bins)), np.zeros((0, 6, 6), np.float16))[0]
    probability = expand({name: torch.from_numpy(codes) for name, codes in batch.encoded.items()}, spec)
    between = seen(probability, Window(left=GRAIN // 4, top=0, extent=GRAIN // 2), (1, 1))[0, 0, :, 0, 0]
    torch.testing.assert_close(between, probability[0, 0, :, 0].mean(dim=1))
    assert between[3:5].max() < 0.1 < between[[0, 7]].min()
