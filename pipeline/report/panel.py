"""A rig as strips of its views: image, truths, and every subject's depth and error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from pipeline.painting import (
    DEPTH_COLOURS,
    ERROR,
    ERROR_COLOURS,
    colour_bar,
    data_url,
    depth_colours,
    error_colours,
    in_a_row,
    shrunken,
)
from pipeline.report.seen import Seen
from stages.cache_teacher.sheet import DEPTH_RANGE_M, columns
from stages.evaluate.protocol import TruthName


@dataclass(frozen=True)
class Strip:
    """One row of a panel, as data URLs."""

    name: str
    depth: str
    errors: Mapping[TruthName, str]
    """Of a prediction, by truth."""
    abs_rel: Mapping[TruthName, float]


@dataclass(frozen=True)
class Panel:
    """One rig."""

    title: str
    cameras: tuple[str, ...]
    """From left to right."""
    image: str
    strips: tuple[Strip, ...]
    truths: tuple[TruthName, ...]
    """That errors are shown against."""


@dataclass(frozen=True)
class Scale:
    """A colour map as a CSS gradient, and what its ends are."""

    low: str
    high: str
    colours: str


SCALES = {
    "depth": Scale(f"{DEPTH_RANGE_M[0]:g} m", f"{DEPTH_RANGE_M[1]:g} m", colour_bar(DEPTH_COLOURS)),
    "error": Scale("0", f"{100 * ERROR:.0f} %", colour_bar(ERROR_COLOURS)),
}


def panel(seen: Seen, truths: Sequence[TruthName] | None = None) -> Panel:
    """Draw a rig, with errors against these truths; all there are if not given."""
    known = tuple(truth.name for truth in seen.truths)
    chosen = known if truths is None else tuple(truths)
    names: dict[TruthName, str] = {"lidar": "LiDAR", "dense": "dense depth"}
    strips = [Strip(names[truth], _url(depth_colours(seen.truth(truth))), {}, {}) for truth in known]
    for subject in seen.predictions:
        scores = {truth: seen.abs_rel(subject, truth) for truth in chosen}
        strips.append(
            Strip(
                name=subject,
                depth=_url(depth_colours(seen.depth(subject))),
                errors={truth: _url(error_colours(seen.error(subject, truth))) for truth in chosen},
                abs_rel={truth: score for truth, score in scores.items() if score is not None},
            )
        )
    order = columns(len(seen.dataset.cameras))
    return Panel(
        title=seen.title,
        cameras=tuple(seen.dataset.cameras[view] for view in order),
        image=_url(shrunken(seen.rig.images, seen.size)),
        strips=tuple(strips),
        truths=chosen,
    )


def _url(views: UInt8[np.ndarray, "V h w 4"]) -> str:
    return data_url(in_a_row(views))
