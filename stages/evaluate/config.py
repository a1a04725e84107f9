"""Settings of stage 3."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cache_schema import CacheLocation
from stages.evaluate.protocol import ProtocolSettings
from stages.train.metric_teacher import MetricTeacherConfig

DEFAULT_SPLIT = "val"
DEFAULT_PROTOCOL = "native"


class EvaluateConfig(BaseModel):
    """Everything stage 3 needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cache: CacheLocation = "zarr"
    run: Path | None = None
    """Folder of a training run, whose student is scored; none: only the teachers are."""
    split: str = DEFAULT_SPLIT
    protocols: Annotated[tuple[str | ProtocolSettings, ...], Field(min_length=1)] = (DEFAULT_PROTOCOL,)
    """`native`, `network`, and settings of one's own; all in one pass over the rigs."""
    teachers: tuple[str, ...] | None = None
    """Teachers of the cache to score; all that are complete for the split if not given."""
    metric_from: str | None = None
    """Split with LiDAR that the scale of every scored teacher's views is fitted to, for it to be scored as a metric
    teacher too; none: no teacher is made metric."""
    metric_teacher: MetricTeacherConfig = MetricTeacherConfig()
    """How that is fitted."""
    dense: bool = True
    """Whether to score against dense depth too, where the cache has it."""
    device: str = "auto"


def metrics_file(run: Path, split: str, protocol: str = DEFAULT_PROTOCOL, data: str = "") -> Path:
    """Where the scores of a run are written; what is not the default is in the name, `data` as `files.data_label`."""
    chosen = ((split, DEFAULT_SPLIT), (protocol, DEFAULT_PROTOCOL), (data, ""))
    return run / ("-".join(["metrics", *(name for name, default in chosen if name != default)]) + ".json")
