"""Evaluation as a whole, on a small cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from cache_schema import BinSpec, CachedRig
from cache_schema.errors import CacheMissingError, ConfigError, EvaluationError, TrainingError
from stages.evaluate import execute as stage
from stages.evaluate.config import EvaluateConfig, metrics_file
from stages.evaluate.plan import EvaluationPlan, plan
from stages.evaluate.prediction import Prediction
from stages.evaluate.protocol import ProtocolSettings
from stages.evaluate.result import Evaluation
from stages.evaluate.subjects import Subject
from stages.progress import Silent
from stages.train.config import StudentConfig
from stages.train.metric_teacher import MetricTeacherConfig
from tests.tiny_cache import write_tiny_cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluate") / "zarr"
    write_tiny_cache(path, splits=("val",))
    return path


def constant(depth_m: float) -> Subject:
    def maps(_: int, rig: CachedRig) -> np.ndarray:
        return np.full(rig.images.shape[:3], depth_m, np.float32)

    return Subject("student", maps, {"metric": "student"})


class Told(Silent):
    """Keeps the lines that stay."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def planned(cache: Path, run: Path, *protocols: str | ProtocolSettings) -> EvaluationPlan:
    (run / "student").mkdir(parents=True, exist_ok=True)
    (run / "student" / "model.safetensors").write_bytes(b"weights")
    (run / "student" / "config.json").write_text(StudentConfig().model_dump_json())
    return plan(EvaluateConfig(cache=str(cache), run=run, protocols=protocols or ("native",), teachers=()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_refused_and_nothing_is_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    monkeypatch.setattr(stage, "_subjects", lambda _: [constant(value)])
    with pytest.raises(EvaluationError, match=r"prediction of student for .* is not finite; nothing was written"):
        stage.execute(planned(cache, tmp_path), Silent(), code_version="test")
    assert not list(tmp_path.glob("metrics*"))


def test_protocols_in_one_pass_are_those_one_by_one(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_subjects", lambda _: [constant(9.0)])
    asked = ("native", "network", ProtocolSettings(name="near", range_m=(1, 20)))
    together = stage.execute(planned(cache, tmp_path / "a", *asked), Silent(), code_version="test")
    for one, by in zip(together, asked, strict=True):
        (alone,) = stage.execute(planned(cache, tmp_path / "b", by), Silent(), code_version="test")
        assert one.model_copy(update={"run": None}) == alone.model_copy(update={"run": None})
        written = metrics_file(tmp_path / "a", "val", one.protocol.name)
        assert Evaluation.model_validate_json(written.read_bytes()) == one
    assert len({evaluation.scores[0].mean.points for evaluation in together}) > 1
    assert {evaluation.student_sha256 for evaluation in together} == {hashlib.sha256(b"weights").hexdigest()}


def test_teachers_made_metric_by_another_split_are_rows_of_their_own(tmp_path: Path) -> None:
    """Their disparity has another scale in each camera, which the cameras' LiDAR of split train tells."""
    kept = {"test_time_views": 2, "bins": BinSpec()}
    cache = write_tiny_cache(tmp_path / "zarr", rigs=12, scale=(1, 0.5, 2, 3), **kept)
    config = EvaluateConfig(cache=str(cache), metric_from="train", dense=False)
    told = Told()
    (found,) = stage.execute(plan(config), told, code_version="test")
    assert "AbsRel" in told.lines[1]
    assert "one scale for all views" in told.lines[1]
    unscaled = {scores.subject: scores for scores in found.scores if scores.scaling == "none"}
    assert list(unscaled) == ["teacher tiny", "teacher tiny, median only", "metric teacher tiny"]
    metric = unscaled["metric teacher tiny"]
    assert metric.alignment == "metric"
    (record,) = found.metric_teachers
    assert record.cross_fit.scenes == 4
    assert f"{record.cross_fit.abs_rel:.3f}" in told.lines[1]
    assert Evaluation.model_validate_json(found.model_dump_json()) == found
    assert metric.mean.metrics["abs_rel"] < 0.15
    assert {part.subject for part in found.parts} >= {"metric teacher tiny"}


def test_a_teacher_that_cannot_be_made_metric_is_refused_before_anything_is_scored(cache: Path) -> None:
    with pytest.raises(CacheMissingError, match="has no split 'train'; it has: val"):
        plan(EvaluateConfig(cache=str(cache), metric_from="train"))
    with pytest.raises(CacheMissingError, match=r"no raw scale of teacher tiny.*--overwrite"):
        plan(EvaluateConfig(cache=str(cache), metric_from="val"))
    without = MetricTeacherConfig(raw_scale=False)
    assert plan(EvaluateConfig(cache=str(cache), metric_from="val", metric_teacher=without)).teachers


def test_a_teacher_that_cannot_be_made_metric_is_left_out_with_the_reason(tmp_path: Path) -> None:
    kept = {"test_time_views": 2, "bins": BinSpec()}
    cache = write_tiny_cache(tmp_path / "zarr", rigs=3, **kept)
    told = Told()
    (found,) = stage.execute(plan(EvaluateConfig(cache=str(cache), metric_from="train")), told, code_version="test")
    assert "teacher tiny is left out: " in told.lines[0]
    assert "expected two at least" in told.lines[0]
    assert not found.metric_teachers
    assert found.scores[0].subject == "teacher tiny"


def test_without_teacher_and_run_there_is_nothing_to_score(tmp_path: Path) -> None:
    cache = write_tiny_cache(tmp_path / "zarr", rigs=3, teacher=False)
    with pytest.raises(EvaluationError, match="no teacher is complete for split val, and no --run is given"):
        plan(EvaluateConfig(cache=str(cache)))


def test_a_view_without_depth_does_not_count() -> None:
    maps = np.ones((2, 4, 6), np.float32)
    maps[1] = 0
    prediction = Prediction(maps, (8, 12), 80.0)
    assert prediction.knows(0)
    assert not prediction.knows(1)


def test_scoring_nothing_is_an_error_and_nothing_is_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where LiDAR was in millimetres: else a table of dashes would look like a result."""
    monkeypatch.setattr(stage, "_subjects", lambda _: [constant(9.0)])
    asked = ("native", ProtocolSettings(name="far", range_m=(150, 200)))
    with pytest.raises(EvaluationError, match=r"split val \(6 rigs\) has no point 150 to 200 m away, as protocol far"):
        stage.execute(planned(cache, tmp_path, *asked), Silent(), code_version="test")
    assert not list(tmp_path.glob("metrics*"))


def test_a_student_without_weights(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    with pytest.raises(TrainingError, match=r"model.safetensors does not hold the weights of a student"):
        plan(EvaluateConfig(cache=str(cache), run=tmp_path))


def test_every_rig_of_every_camera_is_counted(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_subjects", lambda _: [constant(9.0)])
    made = planned(cache, tmp_path)
    (found,) = stage.execute(made, Silent(), code_version="test")
    for score in found.scores[0].cameras.values():
        assert score.images + score.images_without_points == found.rigs == len(made.frames)


@pytest.mark.parametrize(
    ("protocols", "said"),
    [
        (("native", "native"), "two protocols are called native"),
        ((ProtocolSettings(name="val"),), "a protocol is called val, as a split of"),
    ],
)
def test_names_of_protocols_that_would_share_a_file(
    cache: Path, tmp_path: Path, protocols: tuple[str | ProtocolSettings, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        planned(cache, tmp_path, *protocols)
