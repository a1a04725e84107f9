"""Samples whose files are damaged: found one by one, told all at once, and listed so that they can be left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.cache_teacher.datasets.plausible_cameras import require_native_size
from stages.wording import counted

NOTHING_WRITTEN = "nothing was written: replace what is damaged, or leave these samples out with --skip-file"
SHOWN = 10
"""Reasons that an error names."""


@dataclass(frozen=True)
class Unusable:
    """A sample that cannot be used, and why; `sample` is empty where it is all of a scene."""

    scene: str
    sample: str
    reason: str

    @property
    def name(self) -> str:
        """As `--skip` and a list of samples to leave out call it."""
        return sample_name(self.scene, self.sample)


class UnusableSamplesError(DatasetError):
    """Samples of a dataset cannot be used; `samples` has all of them."""

    def __init__(self, message: str, samples: Sequence[Unusable] = ()) -> None:
        super().__init__(message)
        self.samples = tuple(samples)

    def listed(self, cache: str) -> DatasetError:
        """The same, with the file beside a cache into which all of them are written."""
        path = list_beside(cache)
        try:
            path.write_text("".join(map(_lines, self.samples)), encoding="utf-8")
        except OSError as error:
            return DatasetError(f"{self}; {path}, their list, cannot be written ({error.strerror})")
        return DatasetError(f"{self}; their list for --skip-file is {path}")


def listed_names(text: str) -> list[str]:
    """The names in a list of samples, one a line; lines that begin with # do not count.

    A name in quotes is JSON text, as one must be that begins with # or a quote, or has spaces at an end or line breaks.
    Raises ValueError where such text is none.
    """
    lines = [line for line in map(str.strip, text.split("\n")) if line and not line.startswith("#")]
    return [str(json.loads(line)) if line.startswith('"') else line for line in lines]


def _lines(sample: Unusable) -> str:
    name, reason = sample.name, " ".join(sample.reason.split())
    plain = name == name.strip() and name.isprintable() and not name.startswith(("#", '"'))
    return f"# {reason}\n{name if plain else json.dumps(name)}\n"


def sample_name(scene: str, sample: str) -> str:
    """`scene/sample`, or the scene alone."""
    return f"{scene}/{sample}" if sample else scene


def list_beside(cache: str) -> Path:
    """Where the samples that a cache could not use are listed: beside its folder, or here where it is a URL."""
    if "://" in cache:
        return Path(f"{cache.rstrip('/').rsplit('/', 1)[-1]}.unusable.txt")
    return Path(f"{Path(cache)}.unusable.txt")


def try_load(
    dataset: RigDataset, split: str, ref: SampleRef, native_hw: tuple[int, int] | None = None
) -> RigFrames | Unusable:
    """One sample, whose images are of the dataset's size where that is known already, or what is wrong with it."""
    try:
        rig = dataset.load(split, ref)
        if native_hw is not None:
            require_native_size(rig, native_hw)
        return rig
    except DatasetError as error:
        return Unusable(ref.scene, ref.sample, str(error))


def unreadable(samples: Sequence[Unusable], remedy: str) -> UnusableSamplesError:
    """That samples are damaged: the first reason whole, as it may hold for all, and the beginnings of others."""
    first, *others = dict.fromkeys(each.reason for each in samples)
    if len(samples) == 1:
        found = f"{samples[0].scene} sample {samples[0].sample}: {first}"
    else:
        short = "".join(f"; {reason.split('; ')[0]}" for reason in others[: SHOWN - 1])
        more = f"; and {len(others) + 1 - SHOWN} more" if len(others) >= SHOWN else ""
        found = f"{counted(len(samples), 'sample')} cannot be read: {first}{short}{more}"
    return UnusableSamplesError(f"{found}; {remedy}", samples)
