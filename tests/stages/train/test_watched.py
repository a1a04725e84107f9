"""What a run shows and keeps on its way: scores, the best student, early stops, pictures, averages, rehearsals."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cache_schema.errors import ConfigError
from stages.train import execute as loop
from stages.train.average import AverageStudent
from stages.train.batch import TrainBatch
from stages.train.checkpoint import TrainState, checkpoint_folder, checkpoints, read_state
from stages.train.config import LoaderConfig, TrainConfig, UnlabelledConfig, ValidationConfig
from stages.train.panel import Panel
from stages.train.plan import plan
from stages.train.processes import alone
from stages.train.rehearsal import rehearsal_folder, rehearse
from stages.train.sampler import StreamState
from stages.train.student import Student, load_student
from stages.train.validation import Validation, spread
from tests.stages.train.crew import Watcher
from tests.stages.train.small import LIDAR_ONLY, STUDENT, small_config
from tests.stages.train.test_execute import train, weights
from tests.tiny_cache import write_tiny_cache

EVERY_STEP = ValidationConfig(every=1)


def scores_are(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Let the validations of a run give these scores."""
    left = list(scores)
    monkeypatch.setattr(Validation, "abs_rel", lambda validation, student: left.pop(0))


def test_the_score_is_abs_rel_over_the_points_of_each_image(cache: Path, tmp_path: Path):
    made = plan(small_config(validation=EVERY_STEP), cache, tmp_path / "run")
    student = Student(made.config.student)
    validation = Validation(made, EVERY_STEP, alone("cpu"))
    score = validation.abs_rel(student)
    assert student.training, "the student learns on"

    images = []
    student.eval()
    for batch in validation._loader.batches():
        truth, depth = batch.lidar_depth_m.numpy(), student(batch.images).depth_m.detach().numpy()
        for g, p in zip(truth[0], depth[0], strict=True):
            valid = (g > STUDENT.d_min_m) & (g < STUDENT.d_max_m)
            images.append(np.mean(np.abs(g[valid] - p[valid]) / g[valid]))
    assert len(images) == 6 * 4
    assert score == pytest.approx(np.mean(images), rel=1e-5)


def test_a_part_of_the_rigs_is_spread_over_all():
    assert list(spread(10, 5)) == [0, 2, 4, 6, 8]
    assert list(spread(3, None)) == list(spread(3, 7)) == [0, 1, 2]


def test_the_student_with_the_best_score_is_stored(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scores_are(monkeypatch, 0.5, 0.2, 0.3, 0.2, 0.4, 0.6)
    run, watcher = tmp_path / "run", Watcher()
    train(small_config(steps=6, checkpoint_every=1, validation=EVERY_STEP), cache, run, watcher)
    assert [path.name for path in checkpoints(run)] == ["step_000002", "step_000005", "step_000006"]
    state = read_state(checkpoints(run)[-1])
    assert state.best is not None
    assert (state.best.step, state.best.abs_rel, state.stale) == (2, 0.2, 4)
    best = load_student(checkpoint_folder(run, 2)).state_dict()
    assert all(torch.equal(value, best[name]) for name, value in weights(run).items())
    assert watcher.notes[1] == "step 2: AbsRel 0.2000 on split val, the best so far"
    curves = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [point.step for point in curves.Scalars("validation/abs_rel")] == [1, 2, 3, 4, 5, 6]


def test_training_stops_when_scores_no_longer_improve(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scores_are(monkeypatch, 0.5, 0.4, 0.45, 0.44)
    config = small_config(steps=20, validation=ValidationConfig(every=2, patience=2))
    run = tmp_path / "run"
    assert train(config, cache, run).steps == 8
    assert [path.name for path in checkpoints(run)] == ["step_000002", "step_000004", "step_000008"][1:]
    made = plan(config, cache, run)
    assert any("8 done, stopped early" in line for line in made.describe())
    assert train(config, cache, run).steps == 0, "it stays stopped"


def test_an_interrupted_watched_run_ends_alike(cache: Path, tmp_path: Path, one_thread):
    config = small_config(steps=8, checkpoint_every=3, validation=ValidationConfig(every=2), ema=0.8)
    train(config, cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, cache, tmp_path / "cut", Watcher(stop_after=5))
    train(config, cache, tmp_path / "cut")
    ends = [read_state(checkpoints(tmp_path / name)[-1]) for name in ("whole", "cut")]
    assert ends[0] == ends[1]
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[name]), name


def test_scores_need_rigs_with_points_that_are_not_trained_on(cache: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="validation needs rigs that are not trained on"):
        small_config(validation=ValidationConfig(split="train"))
    bare = write_tiny_cache(tmp_path / "zarr", lidar_of=("train",))
    with pytest.raises(ConfigError, match=r"split val have no LiDAR point to score at; set validation\.split"):
        plan(small_config(validation=EVERY_STEP), bare, tmp_path / "run")


def test_the_average_follows_the_weights():
    student = Student(STUDENT)
    average = AverageStudent(student, 0.6)
    expected = None
    for step in range(12):
        for value in student.state_dict().values():
            value.copy_(torch.full_like(value, step * step))
        average.update_parameters(student)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = 0.0 if expected is None else decay * expected + (1 - decay) * step * step
        for name, value in average.module.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, torch.full_like(value, expected), msg=name)
    assert not average.module.training
    assert student.training


def test_the_average_is_what_is_stored_and_the_weights_are_what_goes_on(cache: Path, tmp_path: Path, one_thread):
    train(small_config(), cache, tmp_path / "plain")
    train(small_config(ema=0.9), cache, tmp_path / "averaged")
    last = checkpoints(tmp_path / "averaged")[-1]
    going_on = torch.load(last / "training.pt", weights_only=True)["learner"]
    for name, value in weights(tmp_path / "plain").items():
        assert torch.equal(going_on[f"student.{name}"], value), name
    averaged = weights(tmp_path / "averaged")
    assert any(not torch.equal(value, averaged[name]) for name, value in weights(tmp_path / "plain").items())
    assert not torch.load(checkpoints(tmp_path / "plain")[-1] / "training.pt", weights_only=True)["learner"]


def test_parts_of_a_step_are_averaged(cache: Path, tmp_path: Path, one_thread):
    whole, parts = Watcher(), Watcher()
    train(small_config(loader=LoaderConfig(workers=0, batch_rigs=2)), cache, tmp_path / "whole", whole)
    config = small_config(loader=LoaderConfig(workers=0, batch_rigs=2), accumulate=2)
    train(config, cache, tmp_path / "parts", parts)
    assert len(parts.seen) == len(whole.seen) == 4
    assert parts.seen[0] != whole.seen[0], "silog and normalisation see a part at a time"
    assert parts.seen[0]["lidar"] == pytest.approx(whole.seen[0]["lidar"], rel=0.05)


def test_each_part_has_rigs_of_both_kinds(cache: Path, tmp_path: Path):
    further = write_tiny_cache(tmp_path / "zarr")
    unlabelled = UnlabelledConfig(cache=str(further), batch_rigs=4)
    config = small_config(unlabelled=unlabelled, loader=LoaderConfig(workers=0, batch_rigs=2), accumulate=2)
    made = plan(config, cache, tmp_path / "run")
    for parts in loop.steps_left(made, loop.first_state(made.config), alone("cpu")):
        assert [len(part.rigs) for part in parts] == [3, 3]
        assert [int((part.lidar_depth_m > 0).flatten(1).any(dim=1).sum()) for part in parts] == [1, 1]
    with pytest.raises(ValueError, match=r"unlabelled\.batch_rigs 4 must be a multiple of accumulate 3"):
        TrainConfig(unlabelled=unlabelled, loader=LoaderConfig(batch_rigs=3), accumulate=3)


def test_pictures_of_one_rig_stand_beside_the_curves(cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    train(small_config(panel_every=3), cache, run)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    pictures = events.Images("panel")
    assert [picture.step for picture in pictures] == [3, 4]
    assert Image.open(io.BytesIO(pictures[0].encoded_image_string)).size == (4 * 96, 4 * 64 + 16)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"losses": LIDAR_ONLY}, 3 * 64 + 16),
        ({"losses": LIDAR_ONLY, "student": STUDENT.model_copy(update={"head": "regression"})}, 3 * 64),
    ],
    ids=["no teacher", "no bins"],
)
def test_a_picture_leaves_out_what_there_is_not(cache: Path, tmp_path: Path, settings: dict[str, Any], rows: int):
    made = plan(small_config(**settings), cache, tmp_path / "run")
    assert Panel(made).draw(Student(made.config.student), torch.device("cpu")).shape == (rows, 4 * 96, 3)


def test_a_picture_shows_image_points_and_centres(cache: Path, tmp_path: Path):
    made = plan(small_config(), cache, tmp_path / "run")
    panel = Panel(made)
    picture = panel.draw(Student(made.config.student), torch.device("cpu"))
    batch: TrainBatch = panel._batch
    np.testing.assert_array_equal(picture[:64, :96], batch.images[0, 0])
    points = picture[3 * 64 : 4 * 64, :96]
    v, u = np.argwhere(batch.lidar_depth_m[0, 0].numpy() > 0)[0]
    assert points[v, u].tolist() != [64, 64, 64]
    assert (points == 64).all(axis=2).any()
    centres = picture[4 * 64 :, :96]
    assert (centres[0] == 255).all(axis=1).sum() == STUDENT.bins


def test_a_rehearsal_does_everything_and_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, watcher = tmp_path / "run", Watcher()
    seen: list[Any] = []
    for name in ("save_checkpoint", "store_student"):
        real = getattr(loop, name)
        monkeypatch.setattr(loop, name, lambda *inputs, name=name, real=real: (seen.append(name), real(*inputs))[1])
    config = small_config(steps=5000, ema=0.9, validation=ValidationConfig(patience=1))
    train(small_config(), cache, run)
    before = sorted(path for path in run.rglob("*"))
    seen.clear()
    with rehearsal_folder(run) as folder:
        losses = rehearse(config, cache, folder, watcher, code_version="test", processes=alone("cpu"))
    assert losses == watcher.seen[-1]
    assert len(watcher.seen) == 4
    assert len(watcher.notes) == 2
    assert seen == ["save_checkpoint", "save_checkpoint", "store_student"]
    assert sorted(path for path in run.rglob("*")) == before
    assert list(tmp_path.iterdir()) == [run]


def test_a_rehearsal_takes_place_beside_the_run_wherever_that_is_possible(cache: Path, tmp_path: Path):
    for run in (tmp_path / "run", tmp_path / "not" / "yet" / "there"):
        with rehearsal_folder(run) as folder, rehearsal_folder(run) as another:
            assert folder.parent == another.parent == tmp_path
            assert folder != another
    for run in (cache / "run", Path("/proc/run")):
        with rehearsal_folder(run) as folder:
            assert folder.parent == Path(tempfile.gettempdir())
        assert not folder.exists()


def test_states_of_earlier_versions_are_read():
    old = {"step": 3, "stream": StreamState(seed=1).model_dump()}
    assert TrainState.model_validate_json(json.dumps(old)).best is None
