"""Rigs without LiDAR, which only the teacher teaches from."""

from pathlib import Path

import pytest
import torch

from cache_schema import BinSpec
from cache_schema.errors import CacheMissingError, ConfigError, TrainingError
from stages.train.config import LoaderConfig, TrainConfig, UnlabelledConfig
from stages.train.execute import first_state, next_state, open_loader
from stages.train.plan import plan
from tests.stages.train.small import EVERY_AUGMENTATION, LIDAR_ONLY, small_config
from tests.stages.train.test_execute import Watcher, train, weights
from tests.tiny_cache import write_tiny_cache


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("further") / "zarr")


def with_further(cache: Path | None, split: str = "train", rigs: int = 3, **changes: object) -> TrainConfig:
    unlabelled = UnlabelledConfig(cache=None if cache is None else str(cache), split=split, batch_rigs=rigs)
    return small_config(unlabelled=unlabelled, loader=LoaderConfig(workers=0, batch_rigs=2), **changes)


def test_they_come_beside_the_others_and_their_points_are_not_read(cache: Path, further: Path, tmp_path: Path):
    made = plan(with_further(further), cache, tmp_path / "run")
    alone = plan(small_config(loader=LoaderConfig(workers=0, batch_rigs=2)), cache, tmp_path / "run")
    batches = list(open_loader(made, first_state(made.config), torch.device("cpu")).batches())
    labelled = list(open_loader(alone, first_state(alone.config), torch.device("cpu")).batches())
    assert len(batches) == 4
    for batch, same in zip(batches, labelled, strict=True):
        assert batch.images.shape[0] == 5
        assert batch.rigs[:2] == same.rigs, "the rigs with LiDAR are those of a run without the further ones"
        assert torch.equal(batch.lidar_depth_m[:2], same.lidar_depth_m)
        assert (batch.lidar_depth_m[:2] > 0).any()
        assert not batch.lidar_depth_m[2:].any()
        assert batch.targets is not None
        assert len(batch.targets.view_relation) == 5
    seen = [rig for batch in batches for rig in batch.rigs[2:]]
    assert sorted(seen[:6]) == sorted(set(seen)), "an epoch of 6 rigs, each once"


def test_they_may_be_another_split_of_the_same_cache(cache: Path, tmp_path: Path):
    made = plan(with_further(None, split="val"), cache, tmp_path / "run")
    batch = next(open_loader(made, first_state(made.config), torch.device("cpu")).batches())
    assert batch.images.shape[0] == 5
    assert not batch.lidar_depth_m[2:].any()


def test_the_state_follows_both_streams(cache: Path, further: Path, tmp_path: Path):
    made = plan(with_further(further, rigs=5), cache, tmp_path / "run")
    state = next_state(made, next_state(made, first_state(made.config)))
    assert (state.stream.epoch, state.stream.position) == (0, 4)
    assert state.unlabelled is not None
    assert (state.unlabelled.epoch, state.unlabelled.position) == (1, 4)


def test_an_interrupted_run_with_them_ends_bit_for_bit_alike(
    cache: Path, further: Path, tmp_path: Path, one_thread: None
):
    config = with_further(further, steps=8, checkpoint_every=3, augment=EVERY_AUGMENTATION)
    train(config, cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, cache, tmp_path / "cut", Watcher(stop_after=5))
    train(config, cache, tmp_path / "cut")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[name]), name


def test_they_change_what_is_learned(cache: Path, further: Path, tmp_path: Path, one_thread: None):
    train(with_further(further), cache, tmp_path / "with")
    train(small_config(loader=LoaderConfig(workers=0, batch_rigs=2)), cache, tmp_path / "without")
    assert any(
        not torch.equal(value, weights(tmp_path / "without")[name])
        for name, value in weights(tmp_path / "with").items()
    )


def test_the_plan_says_how_many(cache: Path, further: Path, tmp_path: Path):
    lines = plan(with_further(further), cache, tmp_path / "run").describe()
    assert any(str(further) in line and "6 rigs; 3 more in each step" in line for line in lines)


def test_nothing_to_learn_from_them_is_refused(further: Path):
    needs_lidar = LIDAR_ONLY.model_copy(update={"metric_kd": 1.0})
    with pytest.raises(ValueError, match=r"losses\.metric_kd needs LiDAR too"):
        with_further(further, losses=needs_lidar)
    with pytest.raises(ValueError, match="no loss needs a teacher"):
        with_further(further, losses=LIDAR_ONLY)
    with pytest.raises(ValueError, match="another cache or split"):
        with_further(None)


def test_the_same_rigs_twice_are_refused(cache: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="both the rigs with LiDAR and those without"):
        plan(with_further(cache), cache, tmp_path / "run")


def test_a_run_is_not_gone_on_with_without_them(cache: Path, further: Path, tmp_path: Path):
    train(with_further(further), cache, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"unlabelled: some stored, none asked; ") as error:
        plan(small_config(loader=LoaderConfig(workers=0, batch_rigs=2)), cache, tmp_path / "run")
    assert "UnlabelledConfig" not in str(error.value)


def test_another_teacher_or_another_ring_is_refused(cache: Path, frames_only: Path, tmp_path: Path):
    with pytest.raises(CacheMissingError, match="has no teacher tiny"):
        plan(with_further(frames_only), cache, tmp_path / "run")
    other = write_tiny_cache(tmp_path / "zarr", bins=BinSpec(count=8))
    with pytest.raises(ConfigError, match=r"targets\.bins\.count: 16 with LiDAR, 8 without"):
        plan(with_further(other), cache, tmp_path / "run")


def test_a_raw_scale_that_only_one_cache_has_keeps_nobody_apart(cache: Path, tmp_path: Path):
    """No run reads it, and caches of before lack it."""
    scaled = write_tiny_cache(tmp_path / "scaled", splits=("train",), lidar_of=(), test_time_views=2)
    made = plan(with_further(scaled), cache, tmp_path / "run")
    assert made.data.unlabelled is not None
    assert made.data.unlabelled.teacher == made.data.teacher
