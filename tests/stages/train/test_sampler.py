from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.train.sampler import BatchStream, MixedStream, StreamState, Visit, epoch_order


def batches_of(state: StreamState, batches: int, *, batch_rigs: int = 3, stream: int = 0) -> BatchStream:
    shards = {"rigs": 22, "shard_rigs": 4, "group_shards": 2}
    return BatchStream(state, **shards, batch_rigs=batch_rigs, batches=batches, stream=stream)


def stream(state: StreamState, batches: int, *, batch_rigs: int = 3) -> list[list[Visit]]:
    return list(batches_of(state, batches, batch_rigs=batch_rigs))


@given(rigs=st.integers(1, 60), shard_rigs=st.integers(1, 20), group_shards=st.integers(1, 9))
def test_an_epoch_shows_every_rig_once(rigs, shard_rigs, group_shards):
    order = epoch_order(rigs, shard_rigs, group_shards, seed=1, epoch=0)
    assert sorted(order.tolist()) == list(range(rigs))


def test_an_epoch_is_read_from_one_group_of_shards_after_the_other():
    order = epoch_order(64, 4, 2, seed=1, epoch=0)
    for group in order.reshape(-1, 8):
        assert len(set(group // 4)) == 2


def test_seeds_and_epochs_differ_and_repeat():
    def order(seed: int, epoch: int) -> list[int]:
        return epoch_order(50, 4, 3, seed=seed, epoch=epoch).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_the_order_never_changes_between_versions():
    assert epoch_order(8, 2, 2, seed=7, epoch=3).tolist() == [7, 2, 6, 3, 4, 1, 5, 0]


def test_batches_run_on_over_the_end_of_an_epoch():
    visits = list(chain.from_iterable(stream(StreamState(seed=1), 22)))
    assert len(visits) == 66
    for epoch in range(3):
        part = visits[22 * epoch : 22 * (epoch + 1)]
        assert sorted(part) == [Visit(seed=1, stream=0, epoch=epoch, rig=rig) for rig in range(22)]


@pytest.mark.parametrize("batch_rigs", [1, 2, 11])
def test_a_visit_does_not_depend_on_the_batch_that_holds_it(batch_rigs):
    expected = list(chain.from_iterable(stream(StreamState(seed=1), 22)))
    assert list(chain.from_iterable(stream(StreamState(seed=1), 66 // batch_rigs, batch_rigs=batch_rigs))) == expected


def test_no_visit_is_in_two_streams():
    state = StreamState(seed=1)
    mixed = list(MixedStream(batches_of(state, 4), batches_of(state, 4, batch_rigs=2, stream=1)))
    assert [[visit.stream for visit in batch] for batch in mixed] == [[0, 0, 0, 1, 1]] * 4
    assert [batch[:3] for batch in mixed] == stream(state, 4)


@pytest.mark.parametrize("done", range(1, 22))
def test_a_stream_entered_anywhere_goes_on_as_if_never_left(done):
    start = StreamState(seed=5)
    later = start.advanced(3 * done, 22)
    assert stream(later, 22 - done) == stream(start, 22)[done:]


def test_the_state_counts_rigs_over_epochs():
    assert StreamState(seed=0, epoch=2, position=20).advanced(50, 22) == StreamState(seed=0, epoch=5, position=4)
