"""Settings of runs made of several stages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from stages.cache_teacher.config import CacheTeacherConfig
from stages.train.config import TrainConfig


class ReproduceConfig(BaseModel):
    """Settings of every stage of `fsmde reproduce`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cache: CacheTeacherConfig
    train: TrainConfig = TrainConfig()
