"""From a YAML file to trials: what they are trained on, with what, and what they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cache_schema.errors import CacheMissingError, ConfigError, TeacherError
from pipeline.study.expand import expand, read_study
from pipeline.study.study import Study
from pipeline.study.trial import Trial
from tests.tiny_cache import write_tiny_cache

STUDIES = Path(__file__).parents[3] / "pipeline" / "studies"
SMOKE = {"size": "smoke", "variants": ["lidar", "ckd_vrkd"]}


def study(tmp_path: Path, *assignments: str, **settings: Any) -> Study:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**SMOKE, **settings}, sort_keys=False))
    return expand(read_study(file, list(assignments), {}), tmp_path / "out", code_version="test")


def trial(of: Study, name: str) -> Trial:
    return next(each for each in of.trials if each.name == name)


def names(of: Study, kind: str) -> list[str]:
    return [part.name for part in of.parts() if part.kind == kind]


def test_variants_are_those_of_reproduce_with_settings_of_their_own(tmp_path: Path) -> None:
    variants = [
        "lidar",
        {"name": "warm", "like": "ckd", "says": "CKD, warmer", "set": {"train.losses.temperature": 2.0}},
        {"name": "free", "says": "everything as it is shared"},
    ]
    made = study(tmp_path, variants=variants)
    lidar, warm, free = made.trials
    assert [each.says for each in made.trials] == [
        "LiDAR only, with bins: the baseline",
        "CKD, warmer",
        "everything as it is shared",
    ]
    assert not lidar.training.losses.needs_teacher
    assert (warm.training.losses.ckd, warm.training.losses.rkd, warm.training.losses.temperature) == (1, 0, 2)
    assert free.training.losses.rkd == 0.3


def test_who_has_no_teacher_gets_as_many_more_rigs_with_lidar(tmp_path: Path) -> None:
    variants = [
        "lidar",
        "ckd_vrkd",
        {"name": "fewer", "like": "lidar", "same_images": False},
        {"name": "same", "like": "ckd_vrkd", "unlabelled": False},
        "metric_kd",
    ]
    made = study(tmp_path, variants=variants, train={"loader": {"batch_rigs": 3}}, unlabelled={"batch_rigs": 5})
    shares = {
        each.variant: (each.training.loader.batch_rigs, getattr(each.training.unlabelled, "batch_rigs", 0))
        for each in made.trials
    }
    assert shares == {"lidar": (8, 0), "ckd_vrkd": (3, 5), "fewer": (3, 0), "same": (8, 0), "metric_kd": (8, 0)}
    assert [each.unlabelled is not None for each in made.trials] == [False, True, False, False, False]


def test_the_grid_is_the_product_of_its_axes(tmp_path: Path) -> None:
    grid = {
        "train.losses.sky_u": [0.02, 0.1],
        "rigs": {2: {"street.train.towns": [0], "street.train.rigs": 2}, 8: {"street.train.towns": [3, 4, 5, 6]}},
    }
    made = study(tmp_path, grid=grid)
    assert len(made.trials) == 2 * 2 * 2
    found = trial(made, "ckd_vrkd, sky_u 0.1, rigs 8")
    assert found.training.losses.sky_u == 0.1
    assert found.labelled.rigs("train") == 8
    assert found.place == {"train.losses.sky_u": 0.1, "rigs": 8}
    assert made.trial("lidar", found.place) == trial(made, "lidar, sky_u 0.1, rigs 8")


def test_what_is_the_same_is_made_once(tmp_path: Path) -> None:
    alone = study(tmp_path)
    assert (len(names(alone, "street")), len(names(alone, "cache"))) == (3, 3), "to learn from, without LiDAR, to score"
    beams = study(tmp_path, grid={"street.world.lidar_beams": [8, 32]})
    assert (len(names(beams, "street")), len(names(beams, "cache"))) == (5, 5), "scored on the same towns"
    spread = study(tmp_path, grid={"cache.targets.bins.sigma_widths": [1.0, 1.5, 3.0]})
    assert len(names(spread, "street")) == 3, "targets are no matter of the world"
    locations = {trial.labelled.location for trial in spread.trials}
    assert len(locations) == 1, "nor of the frames"
    assert len({trial.labelled.teacher for trial in spread.trials}) == 3
    assert len(names(spread, "cache")) == 1 + 2 * 3
    runs = [name for name in names(spread, "run") if name.endswith("seed 0")]
    assert len(runs) == 1 + 3, "LiDAR alone is the same run at every point"


NAMED = {"cache.teacher.name": "poor"}


def test_every_teacher_is_scored_on_the_same_rigs(tmp_path: Path) -> None:
    made = study(tmp_path, grid={"teacher": {"good": {}, "poor": {"cache.teacher.id": "x/teacher", **NAMED}}})
    assert len({rigs.location for rigs in made.scored}) == 1
    assert [rigs.called for rigs in made.scored] == ["street", "poor"]
    assert trial(made, "ckd_vrkd, teacher poor").training.teacher == made.scored[1].teacher
    assert trial(made, "lidar, teacher poor").training.teacher is None


def test_other_settings_are_other_runs_and_those_of_the_machine_are_not(tmp_path: Path) -> None:
    before = study(tmp_path)
    after = study(tmp_path, variants=["lidar", {"name": "ckd_vrkd", "set": {"train.losses.kl": 0.5}}])
    assert [a.folder == b.folder for a, b in zip(before.trials, after.trials, strict=True)] == [True, False]
    moved = study(tmp_path, "train.device=cpu", "train.loader.workers=3", "train.log_every=1", "jobs=7")
    assert [each.folder for each in moved.trials] == [each.folder for each in before.trials]
    assert study(tmp_path, "size=small").trials[0].training.steps == 1000
    assert study(tmp_path, "train.steps=21").trials[0].folder != before.trials[0].folder


def test_caches_that_are_there_are_used_as_they_are(tmp_path: Path) -> None:
    cache, more = write_tiny_cache(tmp_path / "zarr"), write_tiny_cache(tmp_path / "more", rigs=3)
    settings = {"ready": str(cache), "unlabelled": {"cache": str(more), "batch_rigs": 1}, "size": None}
    made = study(tmp_path, **settings)
    assert [part.kind for part in made.parts()] == ["teachers"] + ["run"] * 6
    further = trial(made, "ckd_vrkd")
    assert further.unlabelled is not None
    assert further.unlabelled.rigs("train") == 3
    assert "d_max_m" not in further.training.student.model_fields_set, "the dataset says how far"
    other = study(tmp_path, **settings, grid={"ready": [str(cache), str(write_tiny_cache(tmp_path / "other", rigs=5))]})
    assert len({each.folder for each in other.trials}) == 4
    with pytest.raises(CacheMissingError, match="nowhere"):
        study(tmp_path, **{**settings, "ready": str(tmp_path / "nowhere")})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"variants": ["lidar", {"name": "mine"}]}, "variant mine needs a sentence: says"),
        ({"variants": ["lidar", {"name": "mine", "like": "ckd2"}]}, "like 'ckd2' is none of regression, lidar"),
        ({"variants": ["lidar", "lidar"]}, "variant lidar is listed twice"),
        ({"variants": ["ckd"]}, "there is no variant lidar; there are: ckd"),
        ({"compare": [["ckd", "lidar"]]}, "there is no variant ckd; there are: lidar, ckd_vrkd"),
        ({"plot": [{"x": "rigs"}]}, "a plot is against 'rigs', expected an axis"),
        ({"grid": {"rigs": {}}}, "axis rigs needs points"),
        ({"grid": {"train.losses.kl": None}}, "grid.train.losses.kl is empty"),
        ({"grid": {"rigs": {3: {"street.train.rigs": 3}, 6: None}}}, "grid.rigs.6 is empty"),
        ({"grid": {"cache.targets.bins.count": [64, 32]}}, "ckd_vrkd, count 32: teacher "),
        ({"cache": {"targets": {"bins": {"count": 32}}}}, "has targets over 32 bins, the student has 64"),
        ({"targets": {"normalisation": "rank"}}, "unknown key 'targets'; did you mean 'cache.targets'?"),
        ({"grid": {"train.losses.kll": [1]}}, "lidar, kll 1: unknown key 'train.losses.kll'; did you mean 'kl'"),
        ({"grid": {"train.losses.kl": [-1]}}, "train.losses.kl: Input should be greater"),
        ({"grid": {"train.seed": [1, 2]}}, "train.seed is the study's to give"),
        ({"variants": ["lidar", {"name": "ckd", "set": {"train": {"seed": 1}}}]}, "train.seed is the study's to give"),
        ({"variants": None, "ready": "zarr"}, "nothing says what is compared: give variants, a list of names"),
        ({"variants": []}, "nothing says what is compared"),
        ({"variants": None, "varaints": ["lidar"]}, "did you mean 'variants'"),
        ({"varaints": []}, "did you mean 'variants'"),
        ({"size": None}, "nothing says which rigs"),
        ({"unlabelled": {"towns": [90000]}}, "ckd_vrkd would learn from town 90000, on which it is to be scored"),
        ({"street": {"val": {"towns": [1]}}}, "town 1 is listed twice"),
        ({"cache": {"cache": "./zarr"}}, "name one that is there already with ready"),
        ({"split": "test"}, "split 'test' is none of the embedded world, which has: train, val"),
        ({"split": "train"}, "lidar would learn from town 0, on which it is to be scored"),
    ],
)
def test_mistakes_are_refused_before_any_work(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        study(tmp_path, **settings)
    assert says in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("weights", 29),
        ("relation", 9),
        ("labelled", 24),
        ("metric", 16),
        ("beams", 12),
        ("teacher", 14),
        ("sensitivity", 28),
        ("normalisation", 14),
    ],
)
def test_the_studies_of_the_embedded_world_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int
) -> None:
    monkeypatch.chdir(tmp_path)
    for steps in ("300", "1500"):
        Path("runs", "teachers", steps, "teacher").mkdir(parents=True)
    made = expand(read_study(STUDIES / f"{name}.yaml", [], {}), tmp_path, code_version="test")
    runs = [part for part in made.parts() if part.kind == "run"]
    assert len({part.output for part in runs}) == len(runs) == count
    assert all(rigs.rigs(made.split) == 48 for rigs in made.scored)
    for each in made.trials:
        bins = each.labelled.cache.targets.bins.count  # type: ignore[union-attr]
        assert not each.training.losses.needs_teacher or each.training.student.bins == bins


def test_a_teacher_that_is_nowhere_is_missed_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TeacherError, match="no folder runs/teachers/300/teacher"):
        expand(read_study(STUDIES / "teacher.yaml", [], {}), tmp_path, code_version="test")


def test_the_number_of_rigs_is_what_the_axis_says(tmp_path: Path) -> None:
    made = expand(read_study(STUDIES / "labelled.yaml", [], {}), tmp_path, code_version="test")
    assert all(each.labelled.rigs("train") == each.place["rigs with LiDAR"] for each in made.trials)
    assert {each.unlabelled.rigs("train") for each in made.trials if each.unlabelled} == {192}
