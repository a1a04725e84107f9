"""What a second start does to the folder of a run: nothing where it is finished, and nothing to what is not a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cache_schema.errors import ConfigError
from stages.train.checkpoint import checkpoints
from stages.train.config import LoaderConfig
from stages.train.plan import plan
from stages.train.processes import alone
from stages.train.run_folder import LOCK, start_session, this_session
from tests.contents import contents
from tests.stages.train.crew import Watcher
from tests.stages.train.small import small_config
from tests.stages.train.test_execute import train


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a model card."""
    run = tmp_path_factory.mktemp("finished") / "run"
    train(small_config(log_every=1), cache, run)
    (run / "student" / "README.md").write_text("# A model card")
    return run


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def drawn(run: Path) -> list[int]:
    """The steps that the curve of the loss has a point of."""
    return [point.step for point in EventAccumulator(str(run / "tensorboard")).Reload().Scalars("loss")]


@pytest.mark.parametrize(
    "otherwise",
    [{}, {"loader": LoaderConfig(workers=3)}, {"log_every": 3, "panel_every": 1, "checkpoint_every": 1}],
    ids=["the same", "more readers", "other intervals"],
)
def test_a_finished_run_that_is_started_again_stays_as_it_is(cache: Path, finished: Path, otherwise: dict):
    before = contents(finished)
    made = plan(small_config(log_every=1).model_copy(update=otherwise), cache, finished)
    assert made.finished
    assert made.describe()[-1] == f"run      {finished}, finished"
    assert train(made.config, cache, finished).steps == 0
    assert contents(finished) == before
    assert drawn(finished) == [1, 2, 3, 4]


def test_a_run_is_finished_without_the_checkpoints_that_someone_removed(cache: Path, finished: Path):
    shutil.rmtree(finished / "checkpoints")
    before = contents(finished)
    assert train(small_config(), cache, finished).steps == 0
    assert contents(finished) == before


@pytest.mark.parametrize("lost", ["student", "student/model.safetensors", "student/config.json"])
def test_a_student_that_was_lost_comes_back_and_takes_no_curve_with_it(cache: Path, finished: Path, lost: str):
    wanted = (finished / "student" / "model.safetensors").read_bytes()
    path = finished / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert train(small_config(log_every=1), cache, finished).steps == 0
    assert (finished / "student" / "model.safetensors").read_bytes() == wanted
    assert drawn(finished) == [1, 2, 3, 4]


def test_training_the_last_steps_again_keeps_the_card_of_the_same_student(cache: Path, finished: Path, one_thread):
    config = small_config(log_every=1, checkpoint_every=2)
    shutil.rmtree(finished)
    train(config, cache, finished)
    (finished / "student" / "README.md").write_text("# A model card")
    shutil.rmtree(checkpoints(finished)[-1])
    assert train(config, cache, finished).steps == 2
    assert (finished / "student" / "README.md").exists()
    assert drawn(finished) == [1, 2, 3, 4]


def test_a_resumed_run_has_every_point_of_its_curves_once(cache: Path, tmp_path: Path):
    config = small_config(steps=6, checkpoint_every=2, log_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(config, cache, tmp_path / "run", Watcher(stop_after=5))
    shutil.rmtree(checkpoints(tmp_path / "run")[-1])  # as if it had been killed in step 5
    train(config, cache, tmp_path / "run")
    assert drawn(tmp_path / "run") == [1, 2, 3, 4, 5, 6]


def nothing(run: Path) -> None:
    run.mkdir()


def a_lock(run: Path) -> None:
    run.mkdir()
    (run / LOCK).touch()


def half_written_records(run: Path) -> None:
    a_lock(run)
    (run / "provenance.json.0123abcd.partial").write_text("{")


def what_a_log_goes_to(run: Path) -> None:
    run.mkdir()
    (run / "train.log").write_text("started")


@pytest.mark.parametrize("begin", [nothing, a_lock, half_written_records, what_a_log_goes_to])
def test_a_run_that_had_just_begun_goes_on(cache: Path, tmp_path: Path, begin: Callable[[Path], None]):
    begin(tmp_path / "run")
    assert not plan(small_config(), cache, tmp_path / "run").finished


def test_a_run_without_a_checkpoint_goes_on(cache: Path, tmp_path: Path):
    made = plan(small_config(), cache, tmp_path / "run")
    session = this_session(0, alone("cpu").device, 1, "test")
    start_session(made.run, made.config, made.data, made.manifest_sha256, session)
    assert plan(small_config(seed=1), cache, tmp_path / "run").done is None


def a_student(folder: Path, run: Path) -> Path:
    return Path(shutil.copytree(run / "student", folder / "student"))


def a_project(folder: Path, run: Path) -> Path:
    (folder / "src").mkdir()
    return folder


def settings_of_someone_else(folder: Path, run: Path) -> Path:
    (folder / "config.json").write_text("{}")
    return folder


def a_home(folder: Path, run: Path) -> Path:
    (folder / ".bashrc").touch()
    return folder


def the_provenance_of_someone_else(folder: Path, run: Path) -> Path:
    (folder / "provenance.json").write_text('{"author": "me"}')
    return folder


def a_file(folder: Path, run: Path) -> Path:
    (folder / "run").touch()
    return folder / "run"


def below_a_file(folder: Path, run: Path) -> Path:
    return a_file(folder, run) / "run"


def inside_a_run(folder: Path, run: Path) -> Path:
    return Path(shutil.copytree(run, folder / "other")) / "second"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (a_student, "holds README.md and is no training run; nothing was changed"),
        (a_project, "holds src and is no training run"),
        (settings_of_someone_else, "holds config.json and is no training run"),
        (a_home, r"holds \.bashrc and is no training run"),
        (the_provenance_of_someone_else, "holds provenance.json and is no training run"),
        (a_file, "is a file; expected a folder"),
        (below_a_file, "is a file; expected a folder"),
        (inside_a_run, "would lie inside the training run"),
    ],
)
def test_what_is_no_run_is_left_alone(
    cache: Path, trained: Path, tmp_path: Path, place: Callable[[Path, Path], Path], said: str
):
    folder = tmp_path / "folder"
    folder.mkdir()
    run = place(folder, trained)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=said):
        train(small_config(), cache, run)
    assert contents(tmp_path) == before


def test_another_cache_is_no_place_for_a_run(cache: Path, frames_only: Path):
    before = contents(frames_only)
    with pytest.raises(ConfigError, match="is no training run"):
        train(small_config(), cache, frames_only)
    assert contents(frames_only) == before
