import numpy as np
import pytest
from PIL import Image, ImageEnhance

from stages.train.augment.colour import Colour


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(100, 150, (24, 32, 3), dtype=np.uint8))


def changed(colour: Colour, image: Image.Image | None = None) -> np.ndarray:
    return np.asarray(colour(image or picture())).astype(int)


def test_colours_that_do_not_change_change_nothing():
    assert np.array_equal(changed(Colour()), np.asarray(picture()))


def test_brightness_and_saturation_are_pillows():
    brighter = np.asarray(ImageEnhance.Brightness(picture()).enhance(1.3)).astype(int)
    assert np.abs(changed(Colour(brightness=1.3)) - brighter).max() <= 1
    for saturation in (0.0, 0.6, 1.4):
        richer = np.asarray(ImageEnhance.Color(picture()).enhance(saturation)).astype(int)
        assert np.abs(changed(Colour(saturation=saturation)) - richer).max() <= 2


def test_contrast_spreads_values_about_mid_grey():
    values = np.asarray(picture()).astype(float)
    assert np.abs(changed(Colour(contrast=1.4)) - (127.5 + 1.4 * (values - 127.5))).max() <= 1


def test_gamma_keeps_black_and_white():
    ends = Image.fromarray(np.array([[[0, 128, 255]]], np.uint8))
    assert changed(Colour(gamma=2.0), ends).tolist() == [[[0, 64, 255]]]


@pytest.mark.parametrize("hue", [-0.3, 0.05, 0.5])
def test_hue_turns_colours_and_keeps_greys_and_brightness(hue):
    greys = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2))
    assert np.abs(changed(Colour(hue=hue), greys) - np.asarray(greys)).max() <= 1
    before, after = np.asarray(picture()).astype(float), changed(Colour(hue=hue))
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(after @ luma - before @ luma).max() <= 2
    assert np.abs(after - before).mean() > 3
    back = changed(Colour(hue=-hue), Image.fromarray(after.astype(np.uint8)))
    assert np.abs(back - before).max() <= 3


def test_a_third_of_a_turn_takes_red_towards_green_or_blue():
    red = Image.fromarray(np.array([[[150, 90, 90]]], np.uint8))
    turned = {int(changed(Colour(hue=hue), red)[0, 0].argmax()) for hue in (1 / 3, -1 / 3)}
    assert turned == {1, 2}
