"""What is compared differs in what it should, and in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cache_schema.errors import ConfigError
from pipeline.reproduce.plan import plan as plan_comparison
from pipeline.reproduce.variants import (
    BASELINE,
    CONTROLS,
    FEWER,
    METHOD,
    SAME_RIGS,
    TERMS,
    VARIANTS,
    compared,
    training_of,
)
from pipeline.settings import ReproduceConfig
from stages.train.config import LoaderConfig, LossConfig, StudentConfig, TrainConfig
from stages.train.execute import first_state, first_student, open_loader
from stages.train.plan import plan
from tests.stages.train.small import small_config
from tests.tiny_cache import write_tiny_cache

LOSSES = LossConfig(ckd=0.2, view_relation=0.4, pseudo_label=0.3, rkd=0.6, features=0.7, metric_kd=0.8)
BASE = small_config(losses=LOSSES)


def settings(train: TrainConfig = BASE, **more: object) -> ReproduceConfig:
    cache = {"dataset": "ddad", "root": "raw", "cache": "zarr", "teacher": {"id": "tiny"}}
    return ReproduceConfig.model_validate({"cache": cache, "train": train.model_dump(exclude_unset=True), **more})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr", feature_channels=5)


def changed(config: TrainConfig) -> dict[str, float]:
    return {term: getattr(config.losses, term) for term in TERMS if getattr(config.losses, term)}


def test_each_variant_keeps_its_own_terms_with_the_weights_of_the_settings() -> None:
    trained = {name: changed(training_of(settings(), name, 0)) for name in VARIANTS}
    assert trained == {
        "regression": {},
        "lidar": {},
        "pseudo_label": {"pseudo_label": 0.3},
        "rkd": {"rkd": 0.6},
        "feature": {"features": 0.7},
        "metric_kd": {"metric_kd": 0.8},
        "ckd": {"ckd": 0.2},
        "vrkd": {"view_relation": 0.4},
        "ckd_vrkd": {"ckd": 0.2, "view_relation": 0.4},
    }


def test_only_the_baseline_without_bins_has_another_head() -> None:
    heads = {name: training_of(settings(), name, 0).student.head for name in VARIANTS}
    assert [name for name, head in heads.items() if head != "bins"] == ["regression"]


def test_every_variant_sees_the_same_rigs_in_the_same_order(cache: Path, tmp_path: Path) -> None:
    seen = []
    for name in VARIANTS:
        made = plan(training_of(settings(), name, 3), cache, tmp_path / name)
        batches = open_loader(made, first_state(made.config), torch.device("cpu")).batches()
        seen.append([batch.rigs for batch in batches])
    assert len(seen[0]) == 4
    assert all(rigs == seen[0] for rigs in seen)


def test_every_variant_starts_from_the_same_weights(cache: Path, tmp_path: Path) -> None:
    students = [
        first_student(plan(training_of(settings(), name, 3), cache, tmp_path / name)).state_dict() for name in VARIANTS
    ]
    shared = [name for name in students[0] if not name.startswith("head.")]
    assert all(torch.equal(student[name], students[0][name]) for student in students for name in shared)


def test_a_seed_is_the_seed_of_the_run() -> None:
    config = BASE.model_copy(update={"loader": LoaderConfig(batch_rigs=3)})
    assert training_of(settings(config), METHOD, 7).seed == 7
    assert training_of(settings(config), BASELINE, 7).loader.batch_rigs == 3


def test_rigs_without_lidar_go_to_those_that_have_a_teacher_and_all_see_as_many() -> None:
    config = settings(unlabelled={"root": "more", "batch_rigs": 3})
    assert [*compared(config)] == [*VARIANTS, *CONTROLS]
    assert compared(settings()) == VARIANTS
    trained = {name: training_of(config, name, 0) for name in compared(config)}
    alone = {name for name, each in trained.items() if each.unlabelled is None}
    assert alone == {"regression", "lidar", "metric_kd", SAME_RIGS, FEWER}
    for name, each in trained.items():
        assert each.loader.batch_rigs == (5 if name in alone - {FEWER} else 2)
        assert each.unlabelled is None or (each.unlabelled.cache, each.unlabelled.batch_rigs) == ("zarr-unlabelled", 3)
    assert trained[SAME_RIGS].losses == trained[METHOD].losses


def test_rigs_without_lidar_are_cached_like_the_others() -> None:
    further = settings(unlabelled={"root": "more", "split": "val"}).unlabelled_cache
    assert further is not None
    assert (str(further.root), further.cache, further.splits) == ("more", "zarr-unlabelled", ("val",))
    assert not further.lidar
    assert further.teacher == settings().cache.teacher


def test_a_variant_may_have_targets_of_its_own_beside_the_others(tmp_path: Path) -> None:
    config = settings(
        unlabelled={"root": "more"}, targets_of={"pseudo_label": {"normalisation": "quantiles", "features": True}}
    )
    own = config.of("pseudo_label")
    assert (own.cache.targets.normalisation, own.cache.targets.features) == ("quantiles", True)
    assert own.cache.targets.grid_divisor == config.cache.targets.grid_divisor
    assert own.cache.cache == config.cache.cache
    assert own.unlabelled_cache is not None
    assert own.unlabelled_cache.teacher.name == "tiny-pseudo_label"
    assert config.of(METHOD) == config
    assert config.of(METHOD).cache.targets.normalisation == "median"
    teachers = {name: training_of(config, name, 0).teacher for name in compared(config)}
    assert {name for name, teacher in teachers.items() if teacher is None} == {"regression", BASELINE, FEWER}
    assert {name for name, teacher in teachers.items() if teacher == "tiny-pseudo_label"} == {"pseudo_label"}
    assert set(teachers.values()) == {None, "tiny", "tiny-pseudo_label"}


@pytest.mark.parametrize(
    ("targets_of", "says"),
    [
        ({"pseudo": {"normalisation": "quantiles"}}, "targets_of.pseudo: there is no such variant.*pseudo_label"),
        ({"ckd": {"normalization": "median"}}, "targets_of.ckd: .*normalization.*normalisation"),
        ({"lidar": {"normalisation": "rank"}}, "targets_of.lidar: it has no teacher; variants that have: pseudo_label"),
        ({"feature": {"features": False}}, "feature learns the teacher's features, which targets.features=false"),
        ({"metric_kd": {"normalisation": "rank"}}, "metric_kd: losses.metric_kd aligns disparities"),
        ({"ckd": {"bins": {"count": 32}}}, "ckd: teacher tiny-ckd has targets over 32 bins, the student has 16"),
    ],
)
def test_targets_of_its_own_that_cannot_be_are_refused(
    world: Path, tmp_path: Path, targets_of: dict[str, dict[str, object]], says: str
) -> None:
    config = settings(targets_of=targets_of)
    targets = config.cache.targets.model_copy(update={"features": True})
    cache = config.cache.model_copy(update={"root": world, "targets": targets})
    config = config.model_copy(update={"cache": cache})
    with pytest.raises(ConfigError, match=says):
        plan_comparison(config, tmp_path, code_version="1")


def test_a_reach_of_depths_that_nobody_gave_is_left_to_the_dataset() -> None:
    given = settings(TrainConfig(student=StudentConfig(d_max_m=120.0)))
    assert training_of(given, METHOD, 0).student.d_max_m == 120.0
    for name in VARIANTS:
        assert "d_max_m" not in training_of(settings(), name, 0).student.model_fields_set


def test_rigs_without_lidar_come_from_one_place() -> None:
    with pytest.raises(ValueError, match="give one"):
        settings(unlabelled={"root": "more", "towns": [1]})
    with pytest.raises(ValueError, match="give one"):
        settings(unlabelled={"rigs": 3})
