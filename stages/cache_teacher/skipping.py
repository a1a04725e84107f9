"""Samples that are left out because their names were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from cache_schema.errors import ConfigError
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.base import IncompleteSample, RigDataset, SampleRef
from stages.cache_teacher.unusable import listed_names, sample_name

S = TypeVar("S", SampleRef, IncompleteSample)

SHOWN = 3
"""Names that a line shows."""


@dataclass(frozen=True)
class Skip:
    """Names of samples (`scene/sample`) and of whole scenes to leave out."""

    names: frozenset[str]

    def part(self, samples: Sequence[S]) -> tuple[tuple[S, ...], tuple[str, ...]]:
        """The samples that stay, and the names of those that do not."""
        kept = tuple(each for each in samples if not self._leaves_out(each))
        return kept, tuple(sample_name(each.scene, each.sample) for each in samples if self._leaves_out(each))

    def _leaves_out(self, each: SampleRef | IncompleteSample) -> bool:
        return not self.names.isdisjoint((each.scene, sample_name(each.scene, each.sample)))


def samples_to_skip(config: CacheTeacherConfig, dataset: RigDataset) -> Skip:
    """The names in the settings and in the file that they name, one a line; lines that begin with # do not count.

    Raises ConfigError where the file cannot be read, or a name is not in the dataset.
    """
    names = {*config.skip, *_listed(config)}
    unknown = set(names)
    for split in (*(config.splits or ()), *dataset.splits):
        if not unknown:
            break
        for samples in (dataset.samples(split), dataset.incomplete(split)):
            unknown -= {name for each in samples for name in (each.scene, sample_name(each.scene, each.sample))}
    if unknown:
        raise ConfigError(
            f"{shown(sorted(unknown))} of --skip or --skip-file is not in {config.root}; expected names of samples, "
            "scene/sample as the plan and the list of damaged ones have them, or of scenes"
        )
    return Skip(frozenset(names))


def shown(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _listed(config: CacheTeacherConfig) -> list[str]:
    if config.skip_file is None:
        return []
    try:
        return listed_names(config.skip_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{config.skip_file}: cannot be read ({error}); expected names of samples to leave out, one a line"
        ) from error
