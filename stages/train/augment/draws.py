"""What is drawn for a rig. It follows from the rig's visit alone: not from who reads it, nor from what came before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.train.augment.colour import Colour
from stages.train.augment.window import GRAIN, WHOLE, Window
from stages.train.config import AugmentConfig, ColourConfig, CropConfig
from stages.train.sampler import Visit


@dataclass(frozen=True)
class Draw:
    """What happens to one rig. The views in `blanked` are numbered as before it is mirrored.

    `window` is none where no rig is cropped, `colour` where no colours change.
    """

    mirrored: bool = False
    window: Window | None = None
    depth_scale: float = 1.0
    """What LiDAR depths are multiplied by."""
    colour: Colour | None = None
    blanked: tuple[int, ...] = ()


def draw_for(visit: Visit, config: AugmentConfig, views: int) -> Draw:
    """The draw of a visit to a rig of so many views.

    All numbers are always drawn, in the same order, so that no setting changes what another one does.
    """
    # RandomState, because numpy promises that its stream never changes; a resumed run may meet a newer numpy.
    random = np.random.RandomState(list(visit))
    mirrored, cropped, zoom, down, right, *colour = random.random_sample(10).tolist()
    blank = random.random_sample(views) < config.camera_dropout
    window = None
    if config.crop.probability > 0:
        window = _window(config.crop, zoom, down, right) if cropped < config.crop.probability else WHOLE
    return Draw(
        mirrored=mirrored < config.mirror,
        window=window,
        depth_scale=1.0 if window is None or config.crop.depth == "metric" else 1 / window.zoom,
        colour=_colour(config.colour, *colour) if config.colour.changes else None,
        blanked=tuple(np.flatnonzero(blank).tolist()),
    )


def _window(config: CropConfig, zoom: float, down: float, right: float) -> Window:
    low, high = config.zoom
    extent = round(GRAIN / (low + zoom * (high - low)))
    room = GRAIN - extent + 1
    return Window(top=int(down * room), left=int(right * room), extent=extent)


def _colour(
    config: ColourConfig, brightness: float, contrast: float, saturation: float, hue: float, gamma: float
) -> Colour:
    """From numbers in [0, 1), of which ½ changes nothing."""
    return Colour(
        brightness=1 + (2 * brightness - 1) * config.brightness,
        contrast=1 + (2 * contrast - 1) * config.contrast,
        saturation=1 + (2 * saturation - 1) * config.saturation,
        hue=(2 * hue - 1) * config.hue,
        gamma=(1 + config.gamma) ** (2 * gamma - 1),
    )
