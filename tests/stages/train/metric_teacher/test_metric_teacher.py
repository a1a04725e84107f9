"""A teacher made metric: fitted from a cache alone, cross-fitted over scenes, and refused where it is no better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import BinSpec, Cache
from cache_schema.errors import CacheMissingError, ConfigError, TrainingError
from stages.train.metric_teacher import (
    MetricTeacher,
    MetricTeacherConfig,
    fit_metric_teacher,
    load_metric_teacher,
    save_metric_teacher,
)
from stages.train.metric_teacher.files import HEADS, RECORD
from tests.tiny_cache import depth_of, write_tiny_cache

SCALE = (1.0, 0.5, 2.0, 3.0)
"""Of the teacher's disparity in each camera: one scale for all cannot be right."""
QUICK = MetricTeacherConfig(steps=120, ground=False, d_max_m=100)
KEPT = {"test_time_views": 2, "feature_channels": 5, "bins": BinSpec()}
SCENES = {"scene_00", "scene_01", "scene_02", "scene_03"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    path = tmp_path_factory.mktemp("cache") / "zarr"
    write_tiny_cache(path, rigs=12, lidar_of=("train",), scale=SCALE, **KEPT)
    return Cache(path)


@pytest.fixture(scope="module")
def teacher(cache: Cache) -> MetricTeacher:
    return fit_metric_teacher(cache, "train", "tiny", QUICK)


def test_it_is_better_than_one_scale_for_all_on_scenes_that_it_did_not_see(teacher: MetricTeacher) -> None:
    found = teacher.record.cross_fit
    assert found.abs_rel < 0.1 < 0.3 < found.one_scale_abs_rel
    assert (found.rigs, found.scenes) == (12, 4)
    about, worth = teacher.describe()
    assert "by camera, raw scale, features; fitted to 12 rigs of 4 scenes of split train" in about
    assert f"AbsRel {found.abs_rel:.3f}" in worth
    assert f"one scale for all views {found.one_scale_abs_rel:.3f}" in worth


def test_rigs_without_lidar_get_depth_in_metres(cache: Cache, teacher: MetricTeacher) -> None:
    rigs = teacher.rigs(cache, "val")
    depth_m = teacher.depth_m(rigs, 7).numpy()
    truth_m = depth_of(7, (16, 24))
    assert depth_m.dtype == np.float32
    assert (np.abs(depth_m - truth_m) / truth_m).mean() < 0.15


def test_centres_lie_in_the_order_of_the_bins_within_the_limits(cache: Cache, teacher: MetricTeacher) -> None:
    rigs = teacher.rigs(cache, "val")
    centres_m = teacher.centres_m(rigs, rigs.read(7, None))
    assert centres_m.shape == (4, 64)
    assert (centres_m.diff(dim=-1) <= 0).all()
    assert centres_m.min() >= 1
    assert centres_m.max() <= 100


def test_every_scene_is_told_by_a_head_that_did_not_see_it(cache: Cache, teacher: MetricTeacher) -> None:
    assert set(teacher.record.fold_of) == SCENES
    assert sorted(teacher.record.fold_of.values()) == [0, 1, 2, 3]
    cues = teacher.rigs(cache, "train").read(0, None).cues
    with torch.no_grad():
        for scene, fold in teacher.record.fold_of.items():
            assert torch.equal(teacher.scale_shift(cues, scene).scale, teacher.heads[fold](cues).scale)
        several = torch.stack([head(cues).scale for head in teacher.heads])
    told = teacher.scale_shift(cues, "another town").scale
    assert (told >= several.min(0).values).all()
    assert (told <= several.max(0).values).all()


def test_the_same_fit_twice_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "zarr"
    write_tiny_cache(path, rigs=12, splits=("train",), scale=SCALE, **KEPT)
    before = fit_metric_teacher(Cache(path), "train", "tiny", QUICK.model_copy(update={"steps": 5}))
    again = fit_metric_teacher(Cache(path), "train", "tiny", QUICK.model_copy(update={"steps": 5}))
    for one, same in zip(before.heads.parameters(), again.heads.parameters(), strict=True):
        assert torch.equal(one, same)


def test_no_better_than_one_scale_is_refused_with_both_figures(tmp_path: Path) -> None:
    """The disparity of this teacher is right already, but for one scale; and the head learns far too fast."""
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), scale=(2, 2, 2, 2), **KEPT)
    hasty = QUICK.model_copy(update={"learning_rate": 1.0, "steps": 3})
    with pytest.raises(TrainingError, match=r"AbsRel is \d\.\d+ on scenes that were not fitted, with one scale .* 0\."):
        fit_metric_teacher(Cache(path), "train", "tiny", hasty)


def test_a_cache_of_before_is_told_the_command_and_can_do_without(tmp_path: Path) -> None:
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",))
    with pytest.raises(CacheMissingError, match=r"no raw scale of teacher tiny.*--overwrite"):
        fit_metric_teacher(Cache(path), "train", "tiny", QUICK)
    fitted = fit_metric_teacher(Cache(path), "train", "tiny", QUICK.model_copy(update={"raw_scale": False}))
    assert "by camera;" in fitted.describe()[0]


def test_what_cannot_be_fitted_is_refused(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="teacher tiny on split val: no rig has a LiDAR point 1 to 100 m away"):
        fit_metric_teacher(cache, "val", "tiny", QUICK)
    with pytest.raises(TrainingError, match="no rig has a LiDAR point 1 to 2 m away"):
        fit_metric_teacher(cache, "train", "tiny", QUICK.model_copy(update={"d_max_m": 2.0}))
    few = write_tiny_cache(tmp_path / "few", rigs=3, splits=("train",), test_time_views=2)
    with pytest.raises(TrainingError, match="there are LiDAR points in 1 scene; expected two"):
        fit_metric_teacher(Cache(few), "train", "tiny", QUICK)
    ranks = write_tiny_cache(tmp_path / "ranks", splits=("train",), test_time_views=2, normalisation="rank")
    with pytest.raises(ConfigError, match=r"are ranks.*targets\.normalisation=median"):
        fit_metric_teacher(Cache(ranks), "train", "tiny", QUICK)
    with pytest.raises(ConfigError, match=r"d_min_m 1 must be less than d_max_m 0\.5"):
        fit_metric_teacher(cache, "train", "tiny", QUICK.model_copy(update={"d_max_m": 0.5}))


def test_another_cache_must_have_the_same_teacher(teacher: MetricTeacher, tmp_path: Path) -> None:
    same = write_tiny_cache(tmp_path / "same", splits=("more",), **KEPT)
    assert teacher.depth_m(teacher.rigs(Cache(same), "more"), 0).shape == (4, 16, 24)
    other = write_tiny_cache(tmp_path / "other", splits=("more",), quantiles=(0.1, 0.9), **KEPT)
    with pytest.raises(ConfigError, match=r"teacher tiny is not the one that was made metric.*targets\.quantiles"):
        teacher.rigs(Cache(other), "more")


def test_a_view_of_which_the_teacher_says_nothing_has_no_depth(
    cache: Cache, teacher: MetricTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    rigs = teacher.rigs(cache, "val")
    stored = rigs.targets[0]
    stored.encoded["bin_mean"][2] = 7
    stored.encoded["bin_spread"][2] = 254
    stored.disparity_low[2] = stored.disparity_span[2] = 0
    monkeypatch.setattr(type(rigs.targets), "__getitem__", lambda reader, rig: stored)
    depth_m = teacher.depth_m(rigs, 0)
    assert (depth_m[2] == 0).all()
    assert (depth_m[[0, 1, 3]] >= 1).all()


def test_it_is_stored_and_read_without_code(cache: Cache, teacher: MetricTeacher, tmp_path: Path) -> None:
    save_metric_teacher(tmp_path / "metric", teacher)
    read = load_metric_teacher(tmp_path / "metric")
    assert read.record == teacher.record
    for split in ("train", "val"):
        rigs = read.rigs(cache, split)
        assert torch.equal(read.depth_m(rigs, 3), teacher.depth_m(rigs, 3))


@pytest.mark.parametrize("file", [HEADS, RECORD])
def test_a_damaged_file_is_named(teacher: MetricTeacher, tmp_path: Path, file: str) -> None:
    save_metric_teacher(tmp_path, teacher)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-40])
    with pytest.raises(TrainingError, match=file):
        load_metric_teacher(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(TrainingError, match=file):
        load_metric_teacher(tmp_path)
