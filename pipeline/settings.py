"""Settings of runs made of several stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from cache_schema.errors import ConfigError
from pipeline import config
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.street.spec import StreetSpec
from stages.train.config import TrainConfig

DEFAULTS = Path(__file__).with_name("reproduce.yaml")
_OF_THE_MACHINE: Any = {
    "cache": {"root", "cache", "ego_masks", "device", "workers", "readers", "scheduler"},
    "train": {"device": True, "checkpoint_every": True, "log_every": True, "loader": {"workers"}},
    "pictured": True,
}


class ReproduceConfig(BaseModel):
    """Settings of every stage of `fsmde reproduce`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    street: StreetSpec | None = None
    """The embedded world, generated into `cache.root`; none: the dataset is there already."""
    cache: CacheTeacherConfig
    train: TrainConfig = TrainConfig()
    """What all variants share. Each keeps those of `train.losses` that it is about, and sets the others to 0."""
    split: str = "val"
    """Split to score on."""
    seeds: int = Field(default=2, ge=1)
    """Runs of every variant, with seeds from `train.seed` on."""
    pictured: tuple[int, ...] = (0,)
    """Rigs of `split` that the report shows."""

    def of_the_figures(self) -> dict[str, JsonValue]:
        """Settings that the figures depend on: all but places, devices and how the work is shared out."""
        return self.model_dump(mode="json", exclude=_OF_THE_MACHINE)


def reproduce_defaults(size: str | None) -> dict[str, Any]:
    """What reproduce.yaml says for a size of the embedded world, or for a dataset of one's own (none).

    Raises ConfigError on an unknown size.
    """
    groups = config.read_yaml(DEFAULTS)
    if size is None:
        return config.layered({}, groups["every"])
    sizes = groups["sizes"]
    if size not in sizes:
        raise ConfigError(f"unknown size {size!r}; there are: {', '.join(sizes)}")
    return config.layered(config.layered(groups["every"], groups["street"]), sizes[size])
