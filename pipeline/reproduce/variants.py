"""What is compared: the method, its parts, and its rivals, all on the same student and the same data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from pipeline import config as layers
from pipeline.settings import ReproduceConfig
from pipeline.study.trial import share_of_steps
from stages.train.config import TrainConfig, UnlabelledConfig

TERMS = ("ckd", "view_relation", "pseudo_label", "rkd", "features", "metric_kd")
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
    unlabelled: bool = True
    """Whether it learns from rigs without LiDAR where there are any and a term can."""
    same_images: bool = True
    """Whether, where there are rigs without LiDAR and it does not learn from them, it sees as many more with LiDAR."""

    @property
    def settings(self) -> dict[str, JsonValue]:
        """What it changes, by dotted keys."""
        off = {f"train.losses.{term}": 0.0 for term in TERMS if term not in self.terms}
        return {**off, "train.student.head": self.head}


VARIANTS: Mapping[str, Variant] = {
    "regression": Variant("LiDAR only, depth from one channel instead of bins", head="regression"),
    BASELINE: Variant("LiDAR only, with bins: the baseline"),
    "pseudo_label": Variant("LiDAR, and the teacher's disparity up to scale and shift", ("pseudo_label",)),
    "rkd": Variant("LiDAR, and distances and angles between the tokens of a rig (RKD)", ("rkd",)),
    "feature": Variant("LiDAR, and the teacher's features through a projector", ("features",)),
    "metric_kd": Variant("LiDAR, and bin probabilities of the teacher fitted to LiDAR", ("metric_kd",)),
    "ckd": Variant("LiDAR, and the teacher's bin probabilities (CKD)", ("ckd",)),
    "vrkd": Variant("LiDAR, and the teacher's view relation (VRKD)", ("view_relation",)),
    METHOD: Variant("LiDAR, CKD and VRKD: the method", ("ckd", "view_relation")),
}
"""By name, in the order of the table."""


SAME_RIGS = "ckd_vrkd_same"
"""The method without the rigs without LiDAR, where there are any: what do they add?"""

FEWER = "lidar_fewer"
"""The baseline with no more rigs with LiDAR in a step than the method, where there are rigs without: does it matter?"""

CONTROLS: Mapping[str, Variant] = {
    SAME_RIGS: Variant("the method, on no other rigs than the baseline", ("ckd", "view_relation"), unlabelled=False),
    FEWER: Variant(
        "LiDAR only, with no more rigs in a step than those with LiDAR that the method sees", same_images=False
    ),
}
"""What only rigs without LiDAR make different."""


def compared(config: ReproduceConfig) -> Mapping[str, Variant]:
    """The variants that a comparison with these settings consists of."""
    return VARIANTS if config.unlabelled is None else {**VARIANTS, **CONTROLS}


def training_of(config: ReproduceConfig, name: str, seed: int) -> TrainConfig:
    """Settings of the run with `seed`: each variant has the same student, but for its head, and as many rigs a step."""
    variant, further, cache = compared(config)[name], config.unlabelled, config.unlabelled_cache
    settings = layers.assigned(config.model_dump(exclude_unset=True), {**variant.settings, "train.seed": seed})
    more = None
    if further is not None and cache is not None:
        more = UnlabelledConfig(cache=cache.cache, split=further.split, batch_rigs=further.batch_rigs)
    training = layers.validated(TrainConfig, settings["train"], name)
    training = share_of_steps(training, more, learns=variant.unlabelled, same_images=variant.same_images)
    teacher = config.of(name).cache.teacher.called if training.losses.needs_teacher else None
    return training.model_copy(update={"teacher": teacher})
