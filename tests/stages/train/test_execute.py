import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from cache_schema.errors import TrainingError
from stages.train import learner
from stages.train.batch import TrainBatch
from stages.train.checkpoint import checkpoints
from stages.train.config import LoaderConfig, LossConfig, OptimizerConfig, TrainConfig
from stages.train.execute import TrainResult, execute
from stages.train.plan import plan
from stages.train.run_folder import only_trainer
from stages.train.student import Student, load_student
from tests.stages.train.crew import Terminator, Watcher
from tests.stages.train.small import EVERY_AUGMENTATION, LEARNABLE, LIDAR_ONLY, STUDENT, small_config
from tests.tiny_cache import write_tiny_cache


def train(config: TrainConfig, cache: Path, run: Path, watcher: Watcher | None = None) -> TrainResult:
    return execute(plan(config, cache, run), watcher or Watcher(), code_version="test")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "model.safetensors")


def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(cache: Path, tmp_path: Path, one_thread):
    loader = LoaderConfig(workers=0, batch_rigs=4)
    config = small_config(steps=20, checkpoint_every=10, loader=loader, augment=EVERY_AUGMENTATION)
    whole, resumed = Watcher(), Watcher()
    train(config, cache, tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        train(config, cache, tmp_path / "cut", Watcher(stop_after=13))
    train(config, cache, tmp_path / "cut", resumed)

    assert resumed.begun == [("train", 20, 10)]
    assert resumed.seen == whole.seen[10:]
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[name]), name


def test_training_learns_and_tells_its_losses(cache: Path, tmp_path: Path):
    watcher = Watcher()
    result = train(small_config(steps=30, losses=LEARNABLE), cache, tmp_path / "run", watcher)
    assert set(watcher.seen[0]) == {"loss", "lidar", "kl", "cross", "view_relation", "gradient"}
    assert watcher.seen[-1]["lidar"] < watcher.seen[0]["lidar"] / 2
    assert result.steps == 30
    assert result.losses == watcher.seen[-1]


def test_the_baseline_trains_on_a_cache_without_a_teacher(frames_only: Path, tmp_path: Path):
    watcher = Watcher()
    train(small_config(losses=LIDAR_ONLY), frames_only, tmp_path / "run", watcher)
    assert set(watcher.seen[0]) == {"loss", "lidar", "gradient"}


def test_a_student_without_bins_trains_and_comes_back(frames_only: Path, tmp_path: Path):
    student = STUDENT.model_copy(update={"head": "regression"})
    watcher = Watcher()
    result = train(small_config(steps=30, student=student, losses=LIDAR_ONLY), frames_only, tmp_path / "run", watcher)
    assert watcher.seen[-1]["lidar"] < watcher.seen[0]["lidar"] / 2
    assert load_student(result.student).config.head == "regression"


@pytest.mark.parametrize(
    ("rival", "terms", "steps"),
    [
        ({"pseudo_label": 1}, {"pseudo_label"}, 30),
        ({"rkd": 1}, {"rkd_distance", "rkd_angle"}, 30),
        ({"metric_kd": 1}, {"metric_kd"}, 12),  # for longer, its target changes with the centres that LiDAR teaches
    ],
    ids=["pseudo_label", "rkd", "metric_kd"],
)
def test_the_rivals_learn_from_the_teacher_what_they_are_about(cache: Path, tmp_path: Path, rival, terms, steps):
    watcher, losses = Watcher(), LossConfig(ckd=0, view_relation=0, **rival)
    train(small_config(steps=steps, losses=losses), cache, tmp_path / "run", watcher)
    assert set(watcher.seen[0]) == {"loss", "lidar", "gradient"} | terms
    for term in terms:
        assert watcher.seen[-1][term] < watcher.seen[0][term]


def test_a_projector_learns_beside_the_student_and_is_no_part_of_it(tmp_path: Path):
    cache = write_tiny_cache(tmp_path / "zarr", splits=("train",), feature_channels=5)
    watcher, losses = Watcher(), LossConfig(ckd=0, view_relation=0, features=1)
    result = train(small_config(steps=12, losses=losses), cache, tmp_path / "run", watcher)
    assert set(watcher.seen[0]) == {"loss", "lidar", "gradient", "features"}
    assert watcher.seen[-1]["features"] < watcher.seen[0]["features"]
    alone = load_student(result.student)
    assert not any("projector" in name for name in alone.state_dict())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains(cache: Path, tmp_path: Path, precision: str):
    watcher = Watcher()
    train(small_config(steps=6, precision=precision, losses=LEARNABLE), cache, tmp_path / "run", watcher)
    assert watcher.seen[-1]["loss"] < watcher.seen[0]["loss"]


def test_images_may_be_smaller_than_cached_and_the_student_knows(cache: Path, tmp_path: Path):
    student = small_config().student.model_copy(update={"image_size": (32, 48)})
    result = train(small_config(student=student), cache, tmp_path / "run")
    assert load_student(result.student).config.image_size == (32, 48)


def test_a_run_leaves_its_records(cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    result = train(small_config(log_every=2), cache, run)
    assert result.student == run / "student"
    assert json.loads((run / "config.json").read_text())["teacher"] == "tiny"
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["data"]["dataset"]["name"] == "tiny"
    assert len(provenance["manifest_sha256"]) == 64
    assert provenance["seed"] == 0
    [session] = provenance["sessions"]
    assert session["versions"].keys() >= {"python", "numpy", "accelerate"}
    del session["versions"]
    assert session == {
        "first_step": 0,
        "code_version": "test",
        "torch_version": torch.__version__,
        "device": "cpu",
        "processes": 1,
    }
    curves = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [point.step for point in curves.Scalars("loss")] == [2, 4]
    assert {"lidar", "kl", "lr", "gradient", "steps_per_second"} <= set(curves.Tags()["scalars"])


def test_only_the_last_two_checkpoints_are_kept(cache: Path, tmp_path: Path):
    train(small_config(steps=5, checkpoint_every=1), cache, tmp_path / "run")
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_000004", "step_000005"]


def interrupted(cache: Path, run: Path) -> Path:
    """A run that stopped after two of its four steps."""
    with pytest.raises(KeyboardInterrupt):
        train(small_config(), cache, run, Terminator(stop_after=2))
    return run


def test_a_half_written_checkpoint_is_swept_away_and_never_read(cache: Path, tmp_path: Path):
    run = interrupted(cache, tmp_path / "run")
    half = run / "checkpoints" / "step_000009.partial"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert plan(small_config(), cache, run).steps_done == 2
    train(small_config(), cache, run)
    assert not half.exists()


def test_a_damaged_checkpoint_names_the_file_and_the_way_out(cache: Path, tmp_path: Path):
    run = interrupted(cache, tmp_path / "run")
    file = run / "checkpoints" / "step_000002" / "training.pt"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"training\.pt is damaged.*remove"):
        train(small_config(), cache, run)


@pytest.mark.parametrize(
    ("lasts", "named"), [(True, r"because of scene_0\d/00000\d;"), (False, "with rigs scene_.*, ")]
)
def test_a_loss_that_is_not_finite_names_step_and_rigs_and_keeps_the_checkpoint(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasts: bool, named: str
):
    """A rig that spoils it alone too is named; without such, all of the step are."""
    real, calls = learner.batch_loss, []

    def spoilt_from_the_third(student: Student, batch: TrainBatch, *others: object) -> tuple[Tensor, dict[str, Tensor]]:
        calls.append(batch)
        loss, terms = real(student, batch, *others)
        spoilt = len(calls) == 3 or (lasts and len(calls) > 3 and batch.rigs[0] == calls[2].rigs[1])
        return (loss * torch.nan, terms) if spoilt else (loss, terms)

    monkeypatch.setattr(learner, "batch_loss", spoilt_from_the_third)
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=rf"loss, gradient not finite in step 3, {named}"):
        train(small_config(checkpoint_every=1), cache, run)
    assert [path.name for path in checkpoints(run)] == ["step_000001", "step_000002"]
    assert plan(small_config(checkpoint_every=1), cache, run).steps_done == 2


def test_a_start_that_fails_leaves_the_folder_free(cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="encoder_weights"):
        train(small_config(encoder_weights=str(tmp_path / "absent")), cache, run)
    with pytest.raises(KeyboardInterrupt):
        train(small_config(), cache, run, Watcher(stop_after=1))
    train(small_config(optimizer=OptimizerConfig(warmup_steps=1)), cache, run)
    assert len(json.loads((run / "provenance.json").read_text())["sessions"]) == 1


def test_a_student_is_never_left_beside_the_settings_of_another(cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    train(small_config(), cache, run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(TrainingError, match="seed: 0 stored, 7 asked"):
        train(small_config(seed=7), cache, run)


def test_two_processes_do_not_train_into_one_folder(cache: Path, tmp_path: Path):
    with only_trainer(tmp_path / "run"), pytest.raises(TrainingError, match="another process"):
        train(small_config(), cache, tmp_path / "run")


def test_a_run_stopped_right_after_a_checkpoint_goes_on(cache: Path, tmp_path: Path, one_thread):
    config = small_config(checkpoint_every=2)
    train(config, cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, cache, tmp_path / "cut", Terminator(stop_after=2))
    assert [path.name for path in checkpoints(tmp_path / "cut")] == ["step_000002"]
    train(config, cache, tmp_path / "cut")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[name]), name


def test_asked_twice_to_terminate_it_still_saves(cache: Path, tmp_path: Path):
    class Insistent(Terminator):
        def unplug(self) -> None:
            super().unplug()
            super().unplug()

    with pytest.raises(KeyboardInterrupt):
        train(small_config(), cache, tmp_path / "run", Insistent(stop_after=3))
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step_000003"]
