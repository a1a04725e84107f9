"""What stage 1 asks of a teacher, whatever network is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from cache_schema import TeacherIdentity
from cache_schema.errors import TeacherError


class NotFiniteError(TeacherError):
    """A teacher answered with NaN or infinity about some images of a rig, whose places are `views`."""

    def __init__(self, message: str, views: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.views = tuple(views)


@dataclass(frozen=True)
class PointPrediction:
    """One test-time view of a teacher that predicts a value per pixel; V images, the teacher's resolution.

    Disparity, known up to a positive scale and a shift (metric depth arrives here as 1/depth).
    """

    disparity: Float[Tensor, "V h w"]


@dataclass(frozen=True)
class BinPrediction:
    """One test-time view of a teacher with a bin head: J bins, with their centres at every pixel.

    Probabilities sum to 1 over J; `centre_disparity` is the inverse of the bin's depth in metres.
    """

    probability: Float[Tensor, "V J h w"]
    centre_disparity: Float[Tensor, "V J h w"]


@dataclass(frozen=True)
class TeacherOutput:
    """What a teacher says about the V images of one rig.

    `predictions` holds one entry per test-time view (plain, flipped, second scale), each already turned back
    to the plain image's orientation, possibly at different resolutions. `features` are the backbone's last
    selected layer of the plain view, for the view relation.
    """

    predictions: tuple[PointPrediction | BinPrediction, ...]
    features: Float[Tensor, "V C hf wf"]


@runtime_checkable
class Teacher(Protocol):
    """A loaded teacher."""

    identity: TeacherIdentity
    weights: tuple[nn.Parameter, ...]

    def __call__(self, images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> TeacherOutput:
        """Predict for the images of one rig, which may differ in size."""
        ...
