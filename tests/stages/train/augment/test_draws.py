from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.train.augment import WHOLE, Draw, Window, draw_for
from stages.train.augment.window import GRAIN
from stages.train.config import AugmentConfig, ColourConfig, CropConfig
from stages.train.sampler import Visit
from tests.stages.train.small import EVERY_AUGMENTATION

visits = st.builds(
    Visit, seed=st.integers(0, 2**32 - 1), stream=st.integers(0, 1), epoch=st.integers(0, 99), rig=st.integers(0, 9999)
)
zooms = st.tuples(st.floats(1, 16), st.floats(1, 16)).map(sorted).map(tuple)


def many(config: AugmentConfig, count: int = 600) -> list[Draw]:
    return [draw_for(Visit(seed=0, stream=0, epoch=0, rig=rig), config, 6) for rig in range(count)]


@settings(deadline=None)
@given(visit=visits)
def test_nothing_happens_unless_asked_for(visit):
    assert draw_for(visit, AugmentConfig(), 6) == Draw()


@settings(deadline=None)
@given(visit=visits)
def test_a_draw_follows_from_the_visit_alone(visit):
    draw = draw_for(visit, EVERY_AUGMENTATION, 6)
    assert draw_for(visit, EVERY_AUGMENTATION, 6) == draw
    for other in (
        visit._replace(seed=visit.seed ^ 1),
        visit._replace(stream=1 - visit.stream),
        visit._replace(epoch=visit.epoch + 1),
        visit._replace(rig=visit.rig + 1),
    ):
        assert draw_for(other, EVERY_AUGMENTATION, 6).colour != draw.colour


@settings(deadline=None)
@given(visit=visits)
def test_no_setting_changes_what_another_one_draws(visit):
    everything = draw_for(visit, EVERY_AUGMENTATION, 6)
    for name in AugmentConfig.model_fields:
        alone = draw_for(visit, AugmentConfig(**{name: getattr(EVERY_AUGMENTATION, name)}), 6)
        of = {"mirror": "mirrored", "crop": "window", "camera_dropout": "blanked"}.get(name, name)
        assert getattr(alone, of) == getattr(everything, of)


def test_draws_never_change_between_versions():
    draw = draw_for(Visit(seed=7, stream=1, epoch=3, rig=24), EVERY_AUGMENTATION, 6)
    assert (draw.mirrored, draw.blanked) == (False, (4,))
    assert draw.window == Window(top=226, left=490, extent=3568)
    assert draw.colour is not None
    assert vars(draw.colour) == pytest.approx(
        {
            "brightness": 1.0430421814512107,
            "contrast": 1.1344112206599783,
            "saturation": 0.8794672271066118,
            "hue": -0.0014427347587721241,
            "gamma": 1.0600254043522606,
        }
    )


@settings(deadline=None)
@given(visit=visits, zoom=zooms)
def test_windows_lie_inside_the_image(visit, zoom):
    config = AugmentConfig(crop=CropConfig(probability=1, zoom=zoom))
    draw = draw_for(visit, config, 6)
    window = draw.window
    assert 0 <= window.top <= window.top + window.extent <= GRAIN
    assert 0 <= window.left <= window.left + window.extent <= GRAIN
    assert zoom[0] * 0.99 <= window.zoom <= zoom[1] * 1.01
    assert draw.depth_scale * window.zoom == pytest.approx(1)
    metric = config.model_copy(update={"crop": config.crop.model_copy(update={"depth": "metric"})})
    assert draw_for(visit, metric, 6) == replace(draw, depth_scale=1.0)


def test_shares_are_those_asked_for():
    config = AugmentConfig(mirror=0.3, crop=CropConfig(probability=0.6), camera_dropout=0.1)
    draws = many(config)
    assert np.mean([draw.mirrored for draw in draws]) == pytest.approx(0.3, abs=0.06)
    assert np.mean([draw.window != WHOLE for draw in draws]) == pytest.approx(0.6, abs=0.06)
    assert np.mean([len(draw.blanked) / 6 for draw in draws]) == pytest.approx(0.1, abs=0.02)


def test_colours_spread_over_what_is_asked_for():
    config = ColourConfig(brightness=0.2, contrast=0.3, saturation=0.4, hue=0.1, gamma=0.5)
    colours = [draw.colour for draw in many(AugmentConfig(colour=config))]
    for name, low, high in (
        ("brightness", 0.8, 1.2),
        ("contrast", 0.7, 1.3),
        ("saturation", 0.6, 1.4),
        ("hue", -0.1, 0.1),
        ("gamma", 1 / 1.5, 1.5),
    ):
        values = [getattr(colour, name) for colour in colours]
        assert low <= min(values) < low + 0.05 * (high - low), name
        assert high - 0.05 * (high - low) < max(values) <= high, name


@pytest.mark.parametrize("zoom", [(0.9, 1.2), (1.5, 1.2), (1, 99)])
def test_a_zoom_that_is_none_is_refused(zoom):
    with pytest.raises(ValueError, match="must satisfy 1 <= smallest <= largest"):
        CropConfig(zoom=zoom)
