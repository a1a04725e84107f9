import math
from pathlib import Path
from typing import Any

import pytest

from cache_schema import Cache, CacheWriter, ImageSpec
from cache_schema.errors import CacheIncompleteError, CacheMissingError, ConfigError, TrainingError
from stages.progress import Silent
from stages.train import execute as stage
from stages.train.config import (
    AugmentConfig,
    CropConfig,
    LoaderConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
    ValidationConfig,
)
from stages.train.execute import execute
from stages.train.plan import plan
from stages.train.resolve import resolve
from tests.stages.train.small import LIDAR_ONLY, STUDENT, small_config
from tests.tiny_cache import dataset, split_record, write_tiny_cache


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    execute(plan(small_config(steps=3), cache, run), Silent(), code_version="test")
    return run


def test_a_plan_fills_in_what_was_left_open(cache: Path, tmp_path: Path):
    made = plan(small_config(), cache, tmp_path / "run")
    assert made.config.teacher == "tiny"
    assert made.config.student.image_size == (64, 96)
    assert made.config.precision == "float32"
    assert made.steps_done == 0
    assert made.checkpoint is None


@pytest.mark.parametrize(
    ("dataset", "given", "far_m"),
    [("ddad", {}, 200.0), ("nuscenes", {}, 80.0), ("nuscenes", {"d_max_m": 120.0}, 120.0), ("mine", {}, 200.0)],
)
def test_students_see_as_far_as_they_are_scored(cache: Path, dataset: str, given: dict[str, float], far_m: float):
    manifest = Cache(cache).manifest
    manifest = manifest.model_copy(update={"dataset": manifest.dataset.model_copy(update={"name": dataset})})
    resolved = resolve(TrainConfig.model_validate({"student": given, "teacher": "tiny"}), manifest, "zarr")
    assert resolved.student.d_max_m == far_m


def test_a_plan_changes_nothing(cache: Path, tmp_path: Path):
    plan(small_config(), cache, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plan_says_in_a_few_lines_what_would_be_done(cache: Path, tmp_path: Path):
    text = "\n".join(plan(small_config(), cache, tmp_path / "run").describe())
    for word in ("tiny", "train", "6 rigs of 4 views", "96 × 64", "16 bins", "4 of 2 rigs", "0 done"):
        assert word in text


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        (
            {"loader": LoaderConfig(workers=0, batch_rigs=8)},
            "loader.batch_rigs 8 is more than the 6 rigs of split train",
        ),
        (
            {"validation": ValidationConfig(every=9)},
            "validation.every 9 is more than the 4 steps: one score, at the end",
        ),
        (
            {"validation": ValidationConfig(every=2, patience=2)},
            "patience 2 can stop nothing: there are 2 scores in all",
        ),
        ({"validation": ValidationConfig()}, None),
        ({}, None),
    ],
)
def test_a_plan_says_which_settings_hardly_mean_what_they_say(
    cache: Path, tmp_path: Path, changes: dict[str, Any], doubt: str | None
):
    said = [line for line in plan(small_config(**changes), cache, tmp_path / "run").describe() if "doubtful" in line]
    assert len(said) == (doubt is not None)
    assert doubt is None or doubt in said[0]


def test_more_readers_than_a_machine_can_use(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"loader\.workers 1000 on 2 cores; expected at most 64"):
        plan(small_config(loader=LoaderConfig(workers=1000)), cache, tmp_path / "run")


def test_a_plan_sees_how_far_a_run_is(cache: Path, trained: Path):
    made = plan(small_config(steps=3), cache, trained)
    assert made.steps_done == 3
    assert made.checkpoint == trained / "checkpoints" / "step_000003"


def test_points_that_no_student_can_express_are_refused_before_the_first_step(cache: Path, tmp_path: Path):
    """As of a cache that was made from millimetres."""
    student = STUDENT.model_copy(update={"d_min_m": 1.0, "d_max_m": 2.0})
    with pytest.raises(TrainingError, match=r"in 6 rigs no LiDAR point off the ego vehicle is 1 to 2 m away .*; those"):
        plan(small_config(student=student), cache, tmp_path / "run")


def test_training_ends_where_an_epoch_had_no_point(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(stage, "update", lambda *_: {"loss": 1.0, "lidar": next(losses)})
    made = plan(small_config(steps=20, checkpoint_every=2), cache, tmp_path / "run")  # an epoch has 3 steps
    with pytest.raises(TrainingError, match=r"no rig of the last 4 steps had a LiDAR point that the student can expre"):
        execute(made, Silent(), code_version="test")
    assert next(losses, None) is None
    assert plan(made.config, cache, tmp_path / "run").steps_done == 6


def test_no_cache_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(CacheMissingError, match="fsmde cache-teacher"):
        plan(small_config(), tmp_path / "nothing", tmp_path / "run")


def test_an_unknown_split_names_those_there_are(cache: Path, tmp_path: Path):
    with pytest.raises(CacheMissingError, match="train, val"):
        plan(small_config(split="test"), cache, tmp_path / "run")


def test_an_incomplete_split_is_refused(tmp_path: Path):
    image = ImageSpec(height=64, width=96)
    with CacheWriter(tmp_path / "zarr", dataset(), image, code_version="test") as writer:
        writer.add_split("train", split_record(6))
    with pytest.raises(CacheIncompleteError, match="train"):
        plan(small_config(), tmp_path / "zarr", tmp_path / "run")


def test_an_unknown_teacher_names_those_there_are(cache: Path, tmp_path: Path):
    with pytest.raises(CacheMissingError, match=r"'wise'.*tiny"):
        plan(small_config(teacher="wise"), cache, tmp_path / "run")


def test_a_cache_without_a_teacher_names_the_two_ways_on(frames_only: Path, tmp_path: Path):
    with pytest.raises(CacheMissingError, match=r"cache-teacher.*losses\.ckd=0 and losses\.view_relation=0"):
        plan(small_config(), frames_only, tmp_path / "run")


def test_the_baseline_needs_no_teacher(frames_only: Path, cache: Path, tmp_path: Path):
    for path in (frames_only, cache):
        assert plan(small_config(losses=LIDAR_ONLY), path, tmp_path / "run").config.teacher is None


def test_other_bins_than_the_teachers_name_the_setting(cache: Path, tmp_path: Path):
    student = STUDENT.model_copy(update={"bins": 64})
    with pytest.raises(ConfigError, match=r"student\.bins=16"):
        plan(small_config(student=student), cache, tmp_path / "run")
    view_relation_only = LossConfig(ckd=0)
    plan(small_config(student=student, losses=view_relation_only), cache, tmp_path / "run")


def test_another_configuration_is_refused_field_by_field(cache: Path, trained: Path):
    changed = small_config(steps=3, seed=1, optimizer=OptimizerConfig(lr=1e-4, warmup_steps=2))
    with pytest.raises(TrainingError) as refused:
        plan(changed, cache, trained)
    message = str(refused.value)
    assert "seed: 0 stored, 1 asked" in message
    assert "optimizer.lr: 0.003 stored, 0.0001 asked" in message
    assert "choose another --run" in message


def test_what_does_not_change_the_result_may_change(cache: Path, trained: Path):
    changed = small_config(steps=3, checkpoint_every=7, log_every=3, loader=LoaderConfig(workers=1))
    assert plan(changed, cache, trained).steps_done == 3


def test_another_cache_is_refused(trained: Path, tmp_path: Path):
    other = write_tiny_cache(tmp_path / "zarr", rigs=5)
    with pytest.raises(TrainingError, match=r"cache split.*rigs: 6 stored, 5 asked"):
        plan(small_config(steps=3), other, trained)


def test_unknown_and_contradictory_settings_are_refused():
    with pytest.raises(ValueError, match="learning_rate"):
        TrainConfig(learning_rate=1e-3)
    with pytest.raises(ValueError, match="give one of them"):
        TrainConfig(steps=10, epochs=1)


def test_ckd_without_bins_is_refused():
    with pytest.raises(ValueError, match=r"losses\.ckd needs bins.*losses\.ckd=0"):
        TrainConfig(student=STUDENT.model_copy(update={"head": "regression"}))


def test_metric_distillation_without_bins_is_refused():
    with pytest.raises(ValueError, match=r"losses\.metric_kd needs bins.*losses\.metric_kd=0"):
        TrainConfig(
            student=STUDENT.model_copy(update={"head": "regression"}),
            losses=LossConfig(ckd=0, view_relation=0, metric_kd=1),
        )


def test_metric_distillation_needs_no_equal_bins(cache: Path, tmp_path: Path):
    student = STUDENT.model_copy(update={"bins": 24})
    plan(small_config(student=student, losses=LossConfig(ckd=0, metric_kd=1)), cache, tmp_path / "run")


@pytest.mark.parametrize("term", ["pseudo_label", "metric_kd"])
def test_ranks_are_no_disparities_to_align(tmp_path: Path, term: str):
    ranked = write_tiny_cache(tmp_path / "zarr", splits=("train",), normalisation="rank")
    plan(small_config(), ranked, tmp_path / "run")
    losses = LossConfig().model_copy(update={term: 1.0})
    with pytest.raises(ConfigError, match=rf"losses\.{term} aligns.*by rank.*losses\.{term}=0.*quantiles or median"):
        plan(small_config(losses=losses), ranked, tmp_path / "run")


def test_feature_regression_needs_a_cache_with_features(cache: Path, tmp_path: Path):
    losses = LossConfig(features=1)
    with pytest.raises(CacheMissingError, match=r"no features of teacher tiny.*targets\.features=true"):
        plan(small_config(losses=losses), cache, tmp_path / "run")
    plan(small_config(losses=losses), write_tiny_cache(tmp_path / "zarr", feature_channels=5), tmp_path / "run")


def test_a_lopsided_ring_is_not_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.tiny_cache.PAIRS", ((0, 1), (1, 2)))
    lopsided = write_tiny_cache(tmp_path / "zarr")
    with pytest.raises(ConfigError, match=r"augment\.mirror needs a ring.*neighbours 0–1, 1–2 have none"):
        plan(small_config(augment=AugmentConfig(mirror=0.5)), lopsided, tmp_path / "run")
    assert plan(small_config(), lopsided, tmp_path / "run").steps == 4


@pytest.mark.parametrize("term", ["view_relation", "features"])
def test_what_every_crop_takes_away_is_refused(term: str):
    crop = CropConfig(probability=1)
    losses = LossConfig(view_relation=0).model_copy(update={term: 1.0})
    with pytest.raises(ValueError, match=rf"augment\.crop\.probability=1.*losses\.{term}=0"):
        TrainConfig(augment=AugmentConfig(crop=crop), losses=losses)
    TrainConfig(augment=AugmentConfig(crop=crop), losses=LossConfig(view_relation=0))


@pytest.mark.parametrize("term", ["ckd", "view_relation", "pseudo_label", "rkd", "features", "metric_kd"])
def test_every_term_but_lidar_needs_a_teacher(frames_only: Path, tmp_path: Path, term: str):
    losses = LossConfig(ckd=0, view_relation=0).model_copy(update={term: 0.1})
    with pytest.raises(CacheMissingError, match="cache-teacher"):
        plan(small_config(losses=losses), frames_only, tmp_path / "run")


def test_epochs_become_steps(cache: Path, tmp_path: Path):
    settings = small_config(steps=None, epochs=2.5, loader=LoaderConfig(workers=0, batch_rigs=4))
    made = plan(settings, cache, tmp_path / "run")
    assert made.steps == math.ceil(2.5 * 6 / 4)
    assert plan(small_config(steps=None), cache, tmp_path / "run").steps == 20 * 6 // 2, "20 epochs unless told"
