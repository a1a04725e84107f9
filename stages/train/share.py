"""The share of every batch that a process reads, part by part.

The batches stay those of the whole run, so a run may go on with another number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch.utils.data import Sampler

from cache_schema.errors import ConfigError
from stages.train.config import TrainConfig
from stages.train.sampler import Visit
from stages.wording import counted

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Process `rank` of `count`, where each batch comes in `parts`, one after the other."""

    rank: int = 0
    count: int = 1
    parts: int = 1

    def of(self, batch: Sequence[Item]) -> Iterator[list[Item]]:
        """What this process sees of a batch, one list for each part.

        Neighbours go to different parts, so that rigs with LiDAR and without, which a batch holds one after the
        other, are in each.
        """
        for part in range(self.parts):
            yield list(batch[part + self.rank * self.parts :: self.count * self.parts])


WHOLE = Share()


class SharedBatches(Sampler[list[Visit]]):
    """The shares of batches: `parts` lists of visits for each."""

    def __init__(self, batches: Sampler[list[Visit]], share: Share) -> None:
        self.batches = batches
        self.share = share

    def __len__(self) -> int:
        return len(self.batches) * self.share.parts  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[Visit]]:
        for batch in self.batches:
            yield from self.share.of(batch)


def refuse_uneven(config: TrainConfig, processes: int) -> None:
    """Raise ConfigError where the rigs of a part cannot be shared evenly by that many processes."""
    with_lidar = config.loader.batch_rigs
    without = 0 if config.unlabelled is None else config.unlabelled.batch_rigs
    part = (with_lidar + without) // config.accumulate
    if part % processes:
        parts = "" if config.accumulate == 1 else f" in {config.accumulate} parts"
        kinds = f" ({with_lidar} with LiDAR, {without} without)" if without else ""
        raise ConfigError(
            f"{processes} processes cannot share {counted(with_lidar + without, 'rig')} of a step{kinds}{parts} evenly;"
            f" set loader.batch_rigs to a multiple of {processes * config.accumulate}, or start another number of"
            " processes"
        )
