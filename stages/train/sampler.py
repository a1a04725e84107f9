"""Which rigs come next: a seeded stream that reads shard by shard, and can be entered anywhere.

The order of an epoch follows from (seed, epoch) alone, so three numbers say where a run stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler

from cache_schema.manifest import Record


class Visit(NamedTuple):
    """A rig's turn: in which stream and epoch, and of which seed. An epoch visits each rig once."""

    seed: int
    stream: int
    epoch: int
    rig: int


class StreamState(Record):
    """Where a run stands in the stream: `position` rigs of epoch `epoch` are behind it."""

    seed: int
    epoch: int = 0
    position: int = 0

    def advanced(self, taken: int, rigs: int) -> StreamState:
        """The state after `taken` more rigs, in a split of `rigs`."""
        epochs, position = divmod(self.position + taken, rigs)
        return StreamState(seed=self.seed, epoch=self.epoch + epochs, position=position)


def epoch_order(rigs: int, shard_rigs: int, group_shards: int, *, seed: int, epoch: int) -> Int[np.ndarray, "{rigs}"]:
    """The order of one epoch: shards shuffled, then the rigs within each group of `group_shards` shards.

    Neighbours in the stream thus come from a few shards, whose files stay in the system's page cache.
    """
    # RandomState, because numpy promises that its stream never changes; a resumed run may meet a newer numpy.
    random = np.random.RandomState([seed, epoch])
    shards = random.permutation(-(-rigs // shard_rigs))
    order = []
    for group in np.split(shards, range(group_shards, len(shards), group_shards)):
        members = (group[:, None] * shard_rigs + np.arange(shard_rigs)).ravel()
        order.append(random.permutation(members[members < rigs]))  # the last shard may be short
    return np.concatenate(order)


class MixedStream(Sampler[list[Visit]]):
    """Batches of two streams side by side."""

    def __init__(self, first: BatchStream, second: BatchStream) -> None:
        self.first = first
        self.second = second

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[list[Visit]]:
        for ours, others in zip(self.first, self.second, strict=True):
            yield [*ours, *others]


class BatchStream(Sampler[list[Visit]]):
    """`batches` batches of visits to rigs, from `state` on; `stream` is the number that they carry.

    The stream is endless and drops nothing: where an epoch ends within a batch, the next one fills it.
    """

    def __init__(
        self,
        state: StreamState,
        *,
        rigs: int,
        shard_rigs: int,
        group_shards: int,
        batch_rigs: int,
        batches: int,
        stream: int = 0,
    ) -> None:
        self.state = state
        self.rigs = rigs
        self.shard_rigs = shard_rigs
        self.group_shards = group_shards
        self.batch_rigs = batch_rigs
        self.batches = batches
        self.stream = stream

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Visit]]:
        visits = self._visits()
        for _ in range(self.batches):
            yield [next(visits) for _ in range(self.batch_rigs)]

    def _visits(self) -> Iterator[Visit]:
        seed, epoch, position = self.state.seed, self.state.epoch, self.state.position
        while True:
            order = epoch_order(self.rigs, self.shard_rigs, self.group_shards, seed=seed, epoch=epoch)
            yield from (Visit(seed, self.stream, epoch, rig) for rig in order[position:].tolist())
            epoch, position = epoch + 1, 0
