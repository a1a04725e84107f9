"""Which rigs come next: a seeded stream that reads shard by shard, and can be entered anywhere.

The order of an epoch follows from (seed, epoch) alone, so three numbers say where a run stands.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from torch.utils.data import Sampler

from cache_schema.manifest import Record


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


class MixedStream(Sampler[list[int]]):
    """Batches of two streams side by side; indices of the second one count on from the rigs of the first."""

    def __init__(self, first: BatchStream, second: BatchStream) -> None:
        self.first = first
        self.second = second

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[list[int]]:
        for ours, others in zip(self.first, self.second, strict=True):
            yield [*ours, *(self.first.rigs + index for index in others)]


class BatchStream(Sampler[list[int]]):
    """`batches` batches of rig indices, from `state` on.

    The stream is endless and drops nothing: where an epoch ends within a batch, the next one fills it.
    """

    def __init__(
        self, state: StreamState, *, rigs: int, shard_rigs: int, group_shards: int, batch_rigs: int, batches: int
    ) -> None:
        self.state = state
        self.rigs = rigs
        self.shard_rigs = shard_rigs
        self.group_shards = group_shards
        self.batch_rigs = batch_rigs
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        stream = self._indices()
        for _ in range(self.batches):
            yield [next(stream) for _ in range(self.batch_rigs)]

    def _indices(self) -> Iterator[int]:
        epoch, position = self.state.epoch, self.state.position
        while True:
            order = epoch_order(self.rigs, self.shard_rigs, self.group_shards, seed=self.state.seed, epoch=epoch)
            yield from order[position:].tolist()
            epoch, position = epoch + 1, 0
