"""Settings of runs made of several stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from cache_schema.errors import ConfigError
from pipeline import config
from stages.cache_teacher.config import CacheTeacherConfig, TargetSettings
from stages.cache_teacher.datasets.street.spec import SplitSpec, StreetSpec, Towns
from stages.train.config import TrainConfig

DEFAULTS = Path(__file__).with_name("reproduce.yaml")
TRAIN_OF_THE_MACHINE: Any = {
    "device": True, "checkpoint_every": True, "log_every": True, "panel_every": True, "loader": {"workers"},
}  # fmt: skip
"""Settings of training that change nothing in its result, as pydantic excludes them."""

_NOT_OF_A_FIGURE: Any = {
    "cache": {"root", "cache", "ego_masks", "device", "workers", "readers", "scheduler"},
    "train": TRAIN_OF_THE_MACHINE,
    "unlabelled": {"root", "ego_masks"},
    "note": True,
    "jobs": True,
    "seeds": True,
    "pictured": True,
}


class UnlabelledRigs(BaseModel):
    """Rigs without LiDAR that the teacher labels too, in a cache of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path | None = None
    """Folder of the raw data; the embedded world's is generated."""
    towns: Towns = ()
    """Of the embedded world."""
    rigs: int = Field(default=4, ge=1)
    """Consecutive rigs of each town."""
    split: str = "train"
    ego_masks: Path | None = None
    batch_rigs: int = Field(default=2, ge=1)
    """Such rigs in one step. Variants without a teacher get as many more rigs with LiDAR, so that all see as many
    images in a step."""

    @model_validator(mode="after")
    def _from_somewhere(self) -> UnlabelledRigs:
        if (self.root is None) == (not self.towns):
            raise ValueError(
                "rigs without LiDAR come from a folder (root) or from towns of the embedded world; give one"
            )
        return self


class ReproduceConfig(BaseModel):
    """Settings of every stage of `fsmde reproduce`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    street: StreetSpec | None = None
    """The embedded world, generated into `cache.root`; none: the dataset is there already."""
    cache: CacheTeacherConfig
    unlabelled: UnlabelledRigs | None = None
    """Further rigs that only the teacher teaches from."""
    train: TrainConfig = TrainConfig()
    """What all variants share. Each keeps those of `train.losses` that it is about, and sets the others to 0."""
    targets_of: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """By variant, settings of `cache.targets` that are better for it than what the others share. The teacher looks at
    all rigs once more for each."""
    split: str = "val"
    """Split to score on."""
    seeds: int = Field(default=2, ge=1)
    """Runs of every variant, with seeds from `train.seed` on."""
    note: str = ""
    """A sentence that stands beside the figures."""
    jobs: int = Field(default=1, ge=1)
    """Runs at a time, each in a process of its own with its share of the cores."""
    pictured: tuple[int, ...] = (0,)
    """Rigs of `split` that the report shows."""

    def of(self, variant: str) -> ReproduceConfig:
        """These settings, with the targets that are the variant's own beside the others' in the same cache.

        Raises ConfigError for targets that are none.
        """
        own = self.targets_of.get(variant)
        if not own:
            return self
        targets = config.layered(self.cache.targets.model_dump(), own)
        update = {
            "targets": config.validated(TargetSettings, targets, f"targets_of.{variant}"),
            "teacher": self.cache.teacher.model_copy(update={"name": f"{self.cache.teacher.called}-{variant}"}),
        }
        return self.model_copy(update={"cache": self.cache.model_copy(update=update)})

    @property
    def unlabelled_cache(self) -> CacheTeacherConfig | None:
        """How the rigs without LiDAR are cached: as the others, beside them."""
        further = self.unlabelled
        if further is None:
            return None
        root = further.root or self.cache.root.with_name(f"{self.cache.root.name}-unlabelled")
        embedded_masks = None if self.cache.ego_masks is None else root / self.cache.ego_masks.name
        masks = embedded_masks if further.towns else further.ego_masks
        update = {"root": root, "cache": f"{self.cache.cache}-unlabelled", "ego_masks": masks}
        return cached_without_lidar(self.cache, further).model_copy(update=update)

    @property
    def unlabelled_street(self) -> StreetSpec | None:
        """The towns of the embedded world that the rigs without LiDAR are in."""
        further = self.unlabelled
        return None if further is None or self.street is None else street_without_lidar(self.street, further)

    def of_the_figures(self) -> dict[str, JsonValue]:
        """Settings that a figure depends on: all but places, devices, how the work is shared out and how often done."""
        return self.model_dump(mode="json", exclude=_NOT_OF_A_FIGURE)


def cached_without_lidar(cache: CacheTeacherConfig, further: UnlabelledRigs) -> CacheTeacherConfig:
    """How rigs without LiDAR are cached: as the others, from raw data of their own."""
    own = {"root": further.root or cache.root, "splits": (further.split,), "ego_masks": further.ego_masks}
    return cache.model_copy(update={**own, "lidar": False, "dense_depth": False})


def street_without_lidar(street: StreetSpec, further: UnlabelledRigs) -> StreetSpec | None:
    """The towns of the embedded world that rigs without LiDAR are in; none where they come from a folder."""
    if not further.towns:
        return None
    towns = SplitSpec(towns=further.towns, rigs=further.rigs, lidar=False)
    return StreetSpec(size=street.size, train=towns, val=None, world=street.world)


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
