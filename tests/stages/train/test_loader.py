from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import Cache, LidarView
from cache_schema.errors import CacheCorruptError
from stages.train.config import AugmentConfig
from stages.train.lidar_grid import rasterise
from stages.train.loader import Loader, RigDataset, VisitedRigs, resize_mask
from stages.train.sampler import BatchStream, StreamState
from tests.stages.train.small import EVERY_AUGMENTATION
from tests.tiny_cache import NATIVE, PAIRS


def rigs(cache: Path, image_size: tuple[int, int] = (64, 96)) -> RigDataset:
    opened = Cache(cache)
    return RigDataset(opened.split("train"), opened.targets("train", "tiny"), native_size=NATIVE, image_size=image_size)


def visited(dataset: RigDataset, config: AugmentConfig | None = None) -> VisitedRigs:
    return VisitedRigs([dataset], config or AugmentConfig(), views=4, pairs=PAIRS)


def four_batches() -> BatchStream:
    return BatchStream(StreamState(seed=3), rigs=6, shard_rigs=4, group_shards=1, batch_rigs=2, batches=4)


def points(*pixels: tuple[int, int, float]) -> LidarView:
    u, v, depth = zip(*pixels, strict=True)
    return LidarView(np.array([u, v], np.uint16).T, np.array(depth, np.float32))


def test_points_move_to_the_pixel_they_fall_into_and_the_last_wins():
    depth = rasterise(points((0, 0, 5.0), (1935, 1215, 6.0), (100, 50, 7.0), (101, 50, 8.0)), (1216, 1936), (192, 320))
    assert depth[0, 0] == 5
    assert depth[191, 319] == 6
    assert depth[int(50 * 192 / 1216), int(100 * 320 / 1936)] == 8
    assert np.count_nonzero(depth) == 3


def test_no_points_give_an_empty_grid():
    empty = LidarView(np.zeros((0, 2), np.uint16), np.zeros(0, np.float32))
    assert not rasterise(empty, NATIVE, (64, 96)).any()


def test_a_mask_keeps_its_shape_at_another_size():
    mask = np.ones((1, 64, 96), bool)
    mask[:, 48:, :32] = False
    smaller = resize_mask(mask, (32, 48))
    assert smaller.shape == (1, 32, 48)
    assert not smaller[:, 24:, :16].any()
    assert smaller.sum() == 32 * 48 - 8 * 16


def test_a_rig_keeps_its_values(cache: Path):
    batch = rigs(cache)[4]
    stored = Cache(cache).split("train")[4]
    assert np.array_equal(batch.images[0].numpy(), stored.images)
    assert np.array_equal(batch.world[0].numpy(), stored.ego_mask)
    assert batch.rigs == (f"{stored.scene}/{stored.sample}",)
    assert not batch.lidar_depth_m[~batch.world].any(), "points on the own car are left out"
    assert set(np.unique(batch.lidar_depth_m[0, 0])) - {0} <= set(stored.lidar[0].depth_m)


def test_a_rig_can_be_smaller_than_it_is_cached(cache: Path):
    batch = rigs(cache, image_size=(32, 48))[0]
    assert batch.images.shape == (1, 4, 32, 48, 3)
    assert batch.lidar_depth_m.shape == batch.world.shape == (1, 4, 32, 48)
    assert batch.targets.encoded["bin_mean"].shape == (1, 4, 16, 24), "targets stay as they are stored"


def test_batches_follow_the_stream_at_any_number_of_workers(cache: Path):
    dataset = visited(rigs(cache), EVERY_AUGMENTATION)
    alone = list(Loader(dataset, four_batches(), workers=0, pin_memory=False).batches())
    helped = list(Loader(dataset, four_batches(), workers=2, pin_memory=False).batches())
    assert [batch.rigs for batch in alone] == [batch.rigs for batch in helped]
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.windows, other.windows)
        assert torch.equal(one.targets.encoded["bin_mean"], other.targets.encoded["bin_mean"])
        assert one.images.shape[0] == len(one.rigs) == 2


class Damaged(RigDataset):
    def seen(self, index: int, *_: object):
        raise CacheCorruptError(f"rig {index} is damaged: of all things")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_rig_is_one_line_from_any_process(cache: Path, workers: int):
    opened = Cache(cache)
    dataset = Damaged(opened.split("train"), None, native_size=NATIVE, image_size=(64, 96))
    loader = Loader(visited(dataset), four_batches(), workers=workers, pin_memory=False)
    with pytest.raises(CacheCorruptError, match=r"^rig \d is damaged: of all things$"):
        list(loader.batches())


def test_reading_draws_no_random_numbers_from_training(cache: Path):
    before = torch.get_rng_state()
    list(Loader(visited(rigs(cache), EVERY_AUGMENTATION), four_batches(), workers=0, pin_memory=False).batches())
    assert torch.equal(before, torch.get_rng_state())
