"""Views of which the teacher knows nothing: told, and stored so that no student learns from them.

One camera that is covered costs its views, not the run. A teacher that says nothing about any view is broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from cache_schema import RigFrames
from cache_schema.errors import TeacherError
from cache_schema.soft_targets import says_nothing
from stages.cache_teacher.teachers.base import BinPrediction, PointPrediction
from stages.progress import Progress
from stages.wording import counted

SHOWN = 10
"""Views of a split that are named; in the cache, all can be told by `says_nothing`."""


class Views:
    """The views of a shard: those of which the teacher said nothing."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self.unknown: list[str] = []
        self._cameras = cameras
        self._silent: list[str] = []
        self._spoke = False

    def look(self, rig: RigFrames, encoded: Mapping[str, np.ndarray]) -> None:
        """Count the views of a rig, from its encoded target (V, …)."""
        target = {name: array for name, array in encoded.items() if name.startswith("bin_")}
        for camera, nothing, blank in zip(self._cameras, says_nothing(target), one_colour(rig.images), strict=True):
            view = f"{rig.scene} sample {rig.sample}, {camera}"
            if not nothing:
                self._spoke = True
            elif blank:
                self.unknown.append(f"{view}: its image is of one colour")
            else:
                self._silent.append(view)
                self.unknown.append(f"{view}: the teacher's answer is the same at every pixel")

    def require_some(self, teacher: str) -> None:
        """Raise TeacherError where there were images to see, and the teacher said nothing about any of them."""
        if self._silent and not self._spoke:
            raise TeacherError(
                f"teacher {teacher} gives the same answer at every pixel of {counted(len(self._silent), 'view')} of "
                f"{len(self.unknown)} in a shard, first of {self._silent[0]}, and nothing about the others; expected "
                "depth: are its weights those of its config.json, and is preprocessor_config.json its own?"
            )


def one_colour(images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> Bool[np.ndarray, "V"]:
    """Which images have the same value at every pixel, as of a covered lens: what a network sees there, it makes up."""
    return np.array(
        [bool((image[::16, ::16] == image[0, 0]).all() and (image == image[0, 0]).all()) for image in images]
    )


def levelled(
    prediction: PointPrediction | BinPrediction, views: Bool[np.ndarray, "V"]
) -> PointPrediction | BinPrediction:
    """A prediction that is constant in some views."""
    if not views.any():
        return prediction
    if isinstance(prediction, PointPrediction):
        at = torch.from_numpy(views).to(prediction.disparity.device)
        return PointPrediction(prediction.disparity.masked_fill(at[:, None, None], 0))
    at = torch.from_numpy(views).to(prediction.probability.device)[:, None, None, None]
    return BinPrediction(prediction.probability, prediction.centre_disparity.masked_fill(at, 1))


def tell_unknown(found: Sequence[str], so_far: int, progress: Progress) -> None:
    """Tell of views that a shard adds to those of a split: the first by name, then how many there are."""
    before = so_far - len(found)
    for line in found[: max(SHOWN - before, 0)]:
        progress.note(f"nothing is learned from {line}")
    if found and so_far > SHOWN:
        progress.note(f"nothing is learned from {counted(so_far, 'view')} so far")
