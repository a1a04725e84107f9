"""Samples whose files are damaged: found one by one, told all at once, and listed so that they can be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache_schema import RigFrames
from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.base import RigDataset, SampleRef
from stages.cache_teacher.datasets.plausible_cameras import require_native_size
from stages.wording import counted

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
            path.write_text("".join(f"# {each.reason}\n{each.name}\n" for each in self.samples), encoding="utf-8")
        except OSError as error:
            return DatasetError(f"{self}; {path}, their list, cannot be written ({error.strerror})")
        return DatasetError(f"{self}; their list for --skip-file is {path}")


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
    """That samples are damaged: the reason where there is one, the first of several."""
    reasons = list(dict.fromkeys(each.reason for each in samples))
    if len(samples) == 1:
        found = f"{samples[0].scene} sample {samples[0].sample}: {reasons[0]}"
    else:
        short = "; ".join(reason.split("; ")[0] for reason in reasons[:SHOWN])
        more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        found = f"{counted(len(samples), 'sample')} cannot be read ({short}{more})"
    return UnusableSamplesError(f"{found}; {remedy}", samples)
