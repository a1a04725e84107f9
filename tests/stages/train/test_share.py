import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_schema.errors import ConfigError
from stages.train.config import LoaderConfig, TrainConfig, UnlabelledConfig
from stages.train.sampler import BatchStream, StreamState
from stages.train.share import Share, SharedBatches, refuse_uneven


@given(count=st.integers(1, 6), parts=st.integers(1, 4), each=st.integers(1, 3))
def test_the_shares_of_a_batch_are_equal_and_all_of_it(count: int, parts: int, each: int):
    batch = list(range(100, 100 + count * parts * each))
    shares = [list(Share(rank, count, parts).of(batch)) for rank in range(count)]
    assert all([len(part) for part in share] == [each] * parts for share in shares)
    assert sorted(index for share in shares for part in share for index in part) == batch


@given(count=st.integers(1, 4), parts=st.integers(1, 4))
def test_the_parts_are_the_same_for_any_number_of_processes(count: int, parts: int):
    batch = list(range(4 * 3 * 2 * parts))
    alone = list(Share(parts=parts).of(batch))
    shares = [list(Share(rank, count, parts).of(batch)) for rank in range(count)]
    for number, part in enumerate(alone):
        assert sorted(index for share in shares for index in share[number]) == part


def test_batches_come_part_by_part():
    stream = BatchStream(StreamState(seed=1), rigs=22, shard_rigs=4, group_shards=2, batch_rigs=4, batches=3)
    shared = SharedBatches(stream, Share(rank=1, count=2, parts=2))
    assert len(shared) == len(list(shared)) == 6
    assert list(shared) == [[batch[place]] for batch in stream for place in (2, 3)]


@pytest.mark.parametrize(("processes", "fits"), [(1, True), (2, True), (3, False), (6, False)])
def test_rigs_with_lidar_and_without_are_shared_together(processes: int, fits: bool):
    further = UnlabelledConfig(split="more", batch_rigs=2)
    config = TrainConfig(loader=LoaderConfig(batch_rigs=6), unlabelled=further, accumulate=2)
    if fits:
        refuse_uneven(config, processes)
    else:
        with pytest.raises(ConfigError, match=r"8 rigs of a step \(6 with LiDAR, 2 without\) in 2 parts evenly"):
            refuse_uneven(config, processes)
