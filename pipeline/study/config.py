"""A study as a person writes it: a YAML file of what all trials share, of variants, and of axes crossing with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from cache_schema import CacheLocation
from pipeline.reproduce.variants import VARIANTS
from pipeline.settings import UnlabelledRigs
from pipeline.study.trial import Label
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.street.spec import StreetSpec
from stages.train.config import TrainConfig
from stages.wording import counted


def _leaves_the_seed(changes: dict[str, JsonValue]) -> dict[str, JsonValue]:
    train = changes.get("train")
    if "train.seed" in changes or (isinstance(train, Mapping) and "seed" in train):
        raise ValueError("train.seed is the study's to give: every trial is run with each of its seeds; leave it out")
    return changes


Changes = Annotated[dict[str, JsonValue], AfterValidator(_leaves_the_seed)]
"""Settings of a trial by dotted keys, such as `train.losses.kl`. Raises ValueError on a seed of its own."""


class Settings(BaseModel):
    """Base of a study's settings: unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FurtherRigs(UnlabelledRigs):
    """Rigs without LiDAR; also those of a cache that is there already."""

    cache: CacheLocation | None = None
    """The cache, which the teacher of the rigs with LiDAR has labelled."""

    @model_validator(mode="after")
    def _from_somewhere(self) -> FurtherRigs:
        if sum((self.root is not None, bool(self.towns), self.cache is not None)) != 1:
            raise ValueError(
                "rigs without LiDAR come from a folder (root), from towns of the embedded world, or from a cache that "
                "is there (cache); give one"
            )
        return self


class TrialConfig(Settings):
    """What a trial consists of; variants and axes change any of it."""

    ready: CacheLocation | None = None
    """A cache that is there already, instead of `street` and `cache`."""
    street: StreetSpec | None = None
    """Towns of the embedded world, which are generated; none: `cache.root` holds a dataset."""
    cache: CacheTeacherConfig | None = None
    """How the rigs are cached. Where, the study decides; of the embedded world `root` too."""
    unlabelled: FurtherRigs | None = None
    """Further rigs that only the teacher teaches from."""
    train: TrainConfig = TrainConfig()

    @model_validator(mode="before")
    @classmethod
    def _root_of_the_embedded_world(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("street") and isinstance(given.get("cache"), Mapping):
            return {**given, "cache": {"root": Path("street"), **given["cache"]}}
        return given

    @model_validator(mode="after")
    def _some_rigs(self) -> TrialConfig:
        if self.ready is None and self.cache is None:
            raise ValueError(
                "nothing says which rigs: give size for the embedded world, cache for a dataset, or ready for a cache "
                "that is there already"
            )
        if self.cache is not None and self.cache.cache != CacheTeacherConfig.model_fields["cache"].default:
            raise ValueError(
                f"cache.cache {self.cache.cache}: a study makes its caches in its own folder; name one that is there"
                " already with ready"
            )
        if self.unlabelled is not None and (self.unlabelled.cache is None) == (self.ready is not None):
            raise ValueError(
                "rigs with LiDAR and without come both from caches that are there (ready and unlabelled.cache), or "
                "neither does: then they are cached in the same way"
            )
        return self


class VariantConfig(Settings):
    """A variant: what it changes, over all that the trials share."""

    name: str = Field(pattern=r"^[^,/]+$")
    like: str | None = None
    """A variant of `fsmde reproduce` whose terms and head it has; none: that of its own name, if there is one, else all
    settings are as they are shared."""
    says: str = ""
    """What it is, in a sentence; that of `like` if not given."""
    set: Changes = Field(default_factory=dict)
    """Settings of its own, over those of `like` and of the grid."""
    unlabelled: bool = True
    """Whether it learns from rigs without LiDAR where there are any and a term can."""
    same_images: bool = True
    """Whether, where it does not, as many more rigs with LiDAR take their place in each step, so that all trials see as
    many images; else it sees fewer."""

    @model_validator(mode="after")
    def _known_and_said(self) -> VariantConfig:
        if self.like is not None and self.like not in VARIANTS:
            raise ValueError(f"variant {self.name}: like {self.like!r} is none of {', '.join(VARIANTS)}")
        if not self.sentence:
            raise ValueError(f"variant {self.name} needs a sentence: says; known without one are {', '.join(VARIANTS)}")
        return self

    @property
    def model(self) -> str | None:
        """The variant of `fsmde reproduce` that it is like."""
        return self.like or (self.name if self.name in VARIANTS else None)

    @property
    def sentence(self) -> str:
        """What it is."""
        return self.says or ("" if self.model is None else VARIANTS[self.model].says)


class Point(Settings):
    """A point of an axis: what every variant has there."""

    label: Label
    set: Changes


class Plot(Settings):
    """A figure against an axis: a line for each variant, with error bars."""

    x: str
    """An axis of the grid."""
    y: str = "improvement:lidar.mean"
    """A figure (`lidar.abs_rel`, `dense.consistency.rel`), with its standard deviation over seeds; or `improvement:`
    and a figure or `lidar.mean`, `dense.mean`: the relative change for the better, with its 95 % interval."""
    x_label: str | None = None
    y_label: str | None = None
    log: bool = False
    """Whether x is logarithmic."""
    variants: tuple[str, ...] | None = None
    """Those that are drawn, all if not given."""


class StudyConfig(TrialConfig):
    """The whole of a study."""

    size: str | None = None
    """The embedded world at this size, with all settings of `fsmde reproduce`, over which those of the study go."""
    note: str = ""
    """A sentence that stands beside the figures."""
    split: str = "val"
    """Split to score on. All trials are scored on the same rigs: those of the shared settings."""
    seeds: int = Field(default=3, ge=1)
    """Runs of every trial, with seeds from `train.seed` on."""
    jobs: int = Field(default=1, ge=1)
    """Runs at a time, each in a process of its own with its share of the cores."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of each run; none: the cores divided by `jobs`. Another number adds up in another order, so only with
    a number given are the figures the same to the last digit whatever `jobs` is."""
    baseline: str = "lidar"
    """The variant that the others are compared with, at the same point of the grid."""
    variants: tuple[VariantConfig, ...] = Field(min_length=1)
    """Each a name, if it is a variant of `fsmde reproduce`, or a group of settings."""
    grid: dict[str, tuple[Point, ...]] = Field(default_factory=dict)
    """Axes: `KEY: [value, …]` of one setting, or `NAME: {label: {KEY: value, …}, …}`. Every variant is trained at every
    point of their product."""
    compare: tuple[tuple[str, str], ...] = ()
    """Further pairs of variants: the first is compared with the second."""
    plot: tuple[Plot, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _something_to_compare(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and not given.get("variants") and set(given) <= set(cls.model_fields):
            raise ValueError(
                "nothing says what is compared: give variants, a list of names or of groups of settings, as variants:"
                f" [lidar, ckd_vrkd]; known names: {', '.join(VARIANTS)}"
            )
        return given

    @field_validator("variants", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return (
            [{"name": each} if isinstance(each, str) else each for each in given] if isinstance(given, list) else given
        )

    @field_validator("grid", mode="before")
    @classmethod
    def _points(cls, given: Any) -> Any:
        return (
            {name: _axis(str(name), points) for name, points in given.items()} if isinstance(given, Mapping) else given
        )

    @model_validator(mode="after")
    def _names_are_known(self) -> StudyConfig:
        names = [variant.name for variant in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"variant {twice[0]} is listed twice; every variant needs a name of its own")
        drawn = [name for plot in self.plot for name in plot.variants or ()]
        for name in (self.baseline, *(name for pair in self.compare for name in pair), *drawn):
            if name not in names:
                raise ValueError(f"there is no variant {name}; there are: {', '.join(names)}")
        for axis, points in self.grid.items():
            labels = [point.label for point in points]
            if not labels or len(set(labels)) < len(labels):
                raise ValueError(f"axis {axis} needs points, and each a label of its own; found {labels}")
        for plot in self.plot:
            if plot.x not in self.grid:
                raise ValueError(f"a plot is against {plot.x!r}, expected an axis of the grid: {', '.join(self.grid)}")
        return self

    @property
    def in_words(self) -> str:
        """How many trials there are."""
        axes = [f" × {counted(len(points), 'point')} of {axis}" for axis, points in self.grid.items()]
        return f"{counted(len(self.variants), 'variant')}{''.join(axes)} × {counted(self.seeds, 'seed')}"


def _axis(name: str, points: Any) -> Any:
    """The points of an axis, from either form."""
    if isinstance(points, list):
        return [{"label": _label(value), "set": {name: value}} if not _is_point(value) else value for value in points]
    if isinstance(points, Mapping):
        return [{"label": label, "set": changes} for label, changes in points.items()]
    return points


def _is_point(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"label", "set"}


def _label(value: Any) -> Label:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value)
