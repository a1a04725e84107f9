"""What is compared: the method, its parts, and its rivals, all on the same student and the same data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stages.train.config import TrainConfig

TERMS = ("ckd", "view_relation", "pseudo_label", "rkd")
"""Weights in `losses` of what a teacher teaches."""

BASELINE = "lidar"
"""What the others are compared with: LiDAR only, with bins."""

METHOD = "ckd_vrkd"
"""The method as a whole."""


@dataclass(frozen=True)
class Variant:
    """The head of the student, and the terms that stay beside LiDAR; all other terms are 0."""

    says: str
    terms: tuple[str, ...] = ()
    head: Literal["bins", "regression"] = "bins"


VARIANTS: Mapping[str, Variant] = {
    "regression": Variant("LiDAR only, depth from one channel instead of bins", head="regression"),
    BASELINE: Variant("LiDAR only, with bins: the baseline"),
    "pseudo_label": Variant("LiDAR, and the teacher's disparity up to scale and shift", ("pseudo_label",)),
    "rkd": Variant("LiDAR, and distances and angles between the tokens of a rig (RKD)", ("rkd",)),
    "ckd": Variant("LiDAR, and the teacher's bin probabilities (CKD)", ("ckd",)),
    "vrkd": Variant("LiDAR, and the teacher's view relation (VRKD)", ("view_relation",)),
    METHOD: Variant("LiDAR, CKD and VRKD: the method", ("ckd", "view_relation")),
}
"""By name, in the order of the table."""


def training_of(base: TrainConfig, variant: Variant, seed: int) -> TrainConfig:
    """Settings of the run with `seed`: every variant has the same student, but for its head, and the same rigs."""
    off = {term: 0.0 for term in TERMS if term not in variant.terms}
    return TrainConfig.model_validate(
        base.model_copy(
            update={
                "losses": base.losses.model_copy(update=off),
                "student": base.student.model_copy(update={"head": variant.head}),
                "seed": seed,
            }
        ).model_dump()
    )
