"""What a street dataset on disk consists of: towns of each split, rigs of each town, cameras and LiDAR."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from cache_schema.manifest import Record, record_digest
from stages.cache_teacher.datasets.street.config import DATASET_TOWNS, StreetConfig

WORLD_VERSION: Final = 2
"""Raised whenever the same spec gives other pictures or points."""


def _written_out(towns: Any) -> Any:
    """All numbers of a list whose items may be ranges: `3-5` is 3, 4, 5."""
    if isinstance(towns, str):
        return _written_out([item.strip() for item in towns.split(",")])
    if not isinstance(towns, list | tuple):
        return towns
    found: list[Any] = []
    for item in towns:
        ends = re.fullmatch(r"(\d{1,9})-(\d{1,9})", item) if isinstance(item, str) else None
        if ends is None:
            found.append(item)
        elif int(ends[1]) > int(ends[2]) or int(ends[2]) >= DATASET_TOWNS.stop:
            raise ValueError(f"range {item}: expected FIRST-LAST, ascending, up to {DATASET_TOWNS.stop - 1}")
        else:
            found += range(int(ends[1]), int(ends[2]) + 1)
    return found


Towns = Annotated[tuple[int, ...], BeforeValidator(_written_out)]
"""Numbers of towns; each is another world, the same in every dataset. May be given as `0-11` or `0-11,90000`."""


class SplitSpec(Record):
    """One split: a scene for each town."""

    towns: Towns = Field(min_length=1)
    rigs: int = Field(ge=1)
    """Consecutive rigs of each town."""
    lidar: bool = True
    """Whether sweeps hold points; without, a sweep is empty and only tells where the car was."""


class StreetSpec(Record):
    """A street dataset. What is not given comes from the preset of its size."""

    size: Literal["small", "large"] = "small"
    """Preset: `small` (96 × 160 pixels) for laptops and tests, `large` (384 × 640) for training that counts."""
    train: SplitSpec | None
    """None: no training split, as where students are only scored."""
    val: SplitSpec | None
    """None: no validation split, as where nothing is scored."""
    world: StreetConfig
    """Cameras, LiDAR and drive."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        size = given.get("size")
        return _merged(copy.deepcopy(_PRESETS[size if size in _PRESETS else "small"]), given)

    @model_validator(mode="after")
    def _towns_are_worlds_of_their_own(self) -> StreetSpec:
        if not self.splits:
            raise ValueError("train and val are both none; expected towns for one of them")
        towns = [town for split in self.splits.values() for town in split.towns]
        twice = sorted({town for town in towns if towns.count(town) > 1})
        if twice:
            raise ValueError(f"town {twice[0]} is listed twice; expected every town in one split, once")
        strange = [town for town in towns if town not in DATASET_TOWNS]
        if strange:
            raise ValueError(f"town {strange[0]} is not one of datasets; expected 0 to {DATASET_TOWNS.stop - 1}")
        return self

    @property
    def splits(self) -> dict[str, SplitSpec]:
        """The splits by name."""
        splits = {"train": self.train, "val": self.val}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def version(self) -> str:
        """Version of the dataset: two datasets with the same one have the same bytes."""
        return f"street-{WORLD_VERSION}-{record_digest(self)[:12]}"


def scene_name(town: int) -> str:
    """Name of a town's scene and of its folder."""
    return f"{town:06d}"


def _merged(base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over `base`, group by group."""
    for key, value in given.items():
        inner = base.get(key)
        base[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return base


_FIRST_VAL_TOWN = 90_000
_PRESETS: dict[str, dict[str, Any]] = {
    "small": {
        "train": {"towns": list(range(24)), "rigs": 12},
        "val": {"towns": list(range(_FIRST_VAL_TOWN, _FIRST_VAL_TOWN + 6)), "rigs": 8},
        "world": {"height": 96, "width": 160, "lidar_beams": 16, "lidar_columns": 360},
    },
    "large": {
        "train": {"towns": list(range(50)), "rigs": 20},
        "val": {"towns": list(range(_FIRST_VAL_TOWN, _FIRST_VAL_TOWN + 10)), "rigs": 20},
        "world": {"height": 384, "width": 640, "lidar_beams": 64, "lidar_columns": 1440},
    },
}
