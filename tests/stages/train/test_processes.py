"""Two processes that train together against one that trains alone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cache_schema.errors import ConfigError, ToldElsewhereError, TrainingError
from stages.train import learner
from stages.train.batch import TrainBatch
from stages.train.batch_norm import SharedBatchNorm2d, share_batch_norm
from stages.train.checkpoint import checkpoints
from stages.train.config import LoaderConfig, LossConfig, TrainConfig, UnlabelledConfig, ValidationConfig
from stages.train.loader import Loader
from stages.train.losses import masked_mean
from stages.train.processes import LeftAloneError, Processes, join
from stages.train.reduce import sum_over_processes
from stages.train.student import Student
from tests.stages.train.crew import PATIENCE_S, Crew, Watcher, crew, train_together
from tests.stages.train.small import STUDENT, small_config
from tests.tiny_cache import write_tiny_cache

EVERY_LOSS = LossConfig(pseudo_label=1, rkd=1, certainty=True)


@pytest.fixture(scope="module")
def one() -> Iterator[Crew]:
    with crew(1, precise=True) as members:
        yield members


@pytest.fixture(scope="module")
def two() -> Iterator[Crew]:
    with crew(2, precise=True) as members:
        yield members


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("further") / "zarr")


def settings(rigs: int, further: Path | None = None, without_lidar: int = 0, **changes: Any) -> TrainConfig:
    unlabelled = None if further is None else UnlabelledConfig(cache=str(further), batch_rigs=without_lidar)
    return small_config(loader=LoaderConfig(workers=0, batch_rigs=rigs), unlabelled=unlabelled, **changes)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "student" / "model.safetensors")


def assert_alike(run: Path, other: Path) -> None:
    theirs = weights(other)
    for name, value in weights(run).items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-6)


def curves(crew: Crew, config: TrainConfig, cache: Path, run: Path) -> list[dict[str, float]]:
    answers = crew.do(train_together, config, cache, run)
    assert all(isinstance(answer, Watcher) for answer in answers), answers
    first, *others = answers
    assert not any(other.seen or other.begun or other.notes for other in others), "one of them tells"
    return first.seen


@pytest.mark.parametrize(
    "changes",
    [{}, {"losses": EVERY_LOSS}, {"ema": 0.9}, {"accumulate": 2}],
    ids=["default", "every loss", "average", "in parts"],
)
def test_two_learn_what_one_learns(one: Crew, two: Crew, cache: Path, tmp_path: Path, changes: dict[str, Any]):
    config = settings(4, steps=5, **changes)
    alone = curves(one, config, cache, tmp_path / "one")
    both = curves(two, config, cache, tmp_path / "two")
    assert len(both) == 5
    for expected, found in zip(alone, both, strict=True):
        assert found == pytest.approx(expected, rel=1e-7)
    assert_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("rigs", [(1, 1), (1, 3)], ids=["one of them has no point", "most have no point"])
def test_lidar_may_be_unevenly_spread(
    one: Crew, two: Crew, cache: Path, further: Path, tmp_path: Path, rigs: tuple[int, int]
):
    config = settings(rigs[0], further, rigs[1], steps=5)
    alone = curves(one, config, cache, tmp_path / "one")
    for expected, found in zip(alone, curves(two, config, cache, tmp_path / "two"), strict=True):
        assert found == pytest.approx(expected, rel=1e-7)
    assert_alike(tmp_path / "one", tmp_path / "two")


def test_a_run_goes_on_with_another_number_of_processes(one: Crew, two: Crew, cache: Path, tmp_path: Path):
    config = settings(2, steps=5, ema=0.9, checkpoint_every=1)
    curves(one, config, cache, tmp_path / "whole")
    for number, (members, stop_after) in enumerate([(two, 2), (one, 1), (two, None)]):
        answers = members.do(train_together, config, cache, tmp_path / "cut", stop_after)
        interrupted = [isinstance(answer, KeyboardInterrupt) for answer in answers]
        assert all(interrupted) if stop_after else not any(interrupted), (number, answers)
    assert_alike(tmp_path / "whole", tmp_path / "cut")
    sessions = json.loads((tmp_path / "cut" / "provenance.json").read_text())["sessions"]
    assert [(session["first_step"], session["processes"]) for session in sessions] == [(0, 2), (2, 1), (3, 2)]


def test_validation_gives_the_same_score(one: Crew, two: Crew, cache: Path, tmp_path: Path):
    config = settings(2, validation=ValidationConfig(every=2, rigs=5))
    scores = []
    for members, run in ((one, tmp_path / "one"), (two, tmp_path / "two")):
        curves(members, config, cache, run)
        state = json.loads((checkpoints(run)[-1] / "state.json").read_text())
        scores.append(state["best"])
    assert scores[0]["step"] == scores[1]["step"]
    assert scores[0]["abs_rel"] == pytest.approx(scores[1]["abs_rel"], rel=1e-9)


def test_rigs_that_cannot_be_shared_are_refused(two: Crew, cache: Path, further: Path, tmp_path: Path):
    told, silent = two.do(train_together, settings(2, further, 1), cache, tmp_path / "run")
    assert isinstance(told, ConfigError)
    assert "2 processes cannot share 3 rigs of a step (2 with LiDAR, 1 without) evenly" in str(told)
    assert isinstance(silent, ToldElsewhereError)


def test_different_settings_are_refused(two: Crew, cache: Path, tmp_path: Path):
    told, silent = two.do(train_with_own_seed, settings(2), cache, tmp_path / "run")
    assert isinstance(told, TrainingError)
    assert "do not agree on settings" in str(told)
    assert isinstance(silent, ToldElsewhereError)


def test_the_rig_whose_loss_is_not_finite_is_named_whoever_holds_it(two: Crew, cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    told, silent = two.do(train_with_a_bad_rig, settings(4, checkpoint_every=1), cache, run)
    assert isinstance(told, TrainingError)
    assert "loss, lidar, gradient not finite in step 2" in str(told)
    assert "because of scene_" in str(told)
    assert str(told).count("scene_") == 1
    assert isinstance(silent, ToldElsewhereError)
    assert [path.name for path in checkpoints(run)] == ["step_000001"]


def test_what_fails_in_one_ends_both_and_is_told_once(two: Crew, cache: Path, tmp_path: Path):
    silent, told = two.do(train_until_the_second_fails, settings(2), cache, tmp_path / "run")
    assert isinstance(silent, ToldElsewhereError)
    assert isinstance(told, TrainingError)
    assert str(told) == "a rig that cannot be read"


def test_one_that_is_killed_does_not_leave_the_other_waiting(cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    with crew(2) as members:
        for line in members.lines:
            line.send((train_until_the_second_is_lost, (settings(2, checkpoint_every=1), cache, run)))
        assert members.lines[0].poll(PATIENCE_S), "it waits"
        told = members.lines[0].recv()
    assert isinstance(told, LeftAloneError), told
    assert str(told).startswith("process 1 of 2 has lost another one (")
    assert str(told).endswith("step_000002 is kept, and the same command goes on from it")


def test_sums_and_their_gradients(two: Crew):
    for total, gradient in two.do(sum_and_gradient):
        assert total == [11.0, 22.0]
        assert gradient == [2 * 2 * 11.0, 2 * 2 * 22.0], "both processes use each sum, so it counts twice"


def test_means_are_over_all_points_but_means_of_an_image_are_its_own(two: Crew):
    for whole, each in two.do(means):
        assert whole == pytest.approx((1 + 2 + 3 + 10) / 4)
        assert each in ([2.0], [10.0])


def test_batch_norm_is_that_of_the_whole_batch(two: Crew):
    x = torch.randn(6, 3, 4, 5, dtype=torch.float64) + 100
    whole = torch.nn.BatchNorm2d(3, dtype=torch.float64)
    expected = whole(x)
    for rank, (found, mean, variance) in enumerate(two.do(normalise, x.numpy())):
        np.testing.assert_allclose(found, expected[3 * rank : 3 * rank + 3].detach(), rtol=1e-9)
        np.testing.assert_allclose(mean, whole.running_mean, rtol=1e-12)
        np.testing.assert_allclose(variance, whole.running_var, rtol=1e-12)


def test_every_normalisation_is_shared_and_keeps_its_name():
    student = Student(STUDENT)
    before = student.state_dict()
    parameters = set(student.parameters())
    share_batch_norm(student)
    norms = [module for module in student.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) > 10
    assert all(isinstance(norm, SharedBatchNorm2d) for norm in norms)
    assert list(student.state_dict()) == list(before)
    assert set(student.parameters()) == parameters
    student.load_state_dict(before)


@pytest.mark.parametrize(("device", "message"), [("cuda:1", "auto, cuda or cpu, not cuda:1"), ("cuda", "finds 0 GPUs")])
def test_every_process_needs_a_device(device: str, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=message), join(device):
        pass


def train_with_own_seed(processes: Processes, config: TrainConfig, cache: Path, run: Path) -> Watcher:
    return train_together(processes, config.model_copy(update={"seed": processes.rank}), cache, run)


def train_with_a_bad_rig(processes: Processes, config: TrainConfig, cache: Path, run: Path) -> Watcher:
    """From the second step on, one point of a rig of the second process has no depth."""
    real, calls = learner.batch_loss, []

    def loss_of(student: Student, batch: TrainBatch, *others: Any) -> Any:
        calls.append(batch)
        loss, terms = real(student, batch, *others)
        if len(calls) >= 2:
            spoilt = processes.rank == 1 and calls[1].rigs[0] in batch.rigs
            value = torch.tensor([torch.nan if spoilt else 1.0], requires_grad=True)
            bad = masked_mean(value, torch.tensor([True]))
            return loss * bad, terms | {"lidar": terms["lidar"] * bad}
        return loss, terms

    learner.batch_loss = loss_of
    try:
        return train_together(processes, config, cache, run)
    finally:
        learner.batch_loss = real


def train_until_the_second_is_lost(processes: Processes, config: TrainConfig, cache: Path, run: Path) -> Watcher:
    real, calls = learner.batch_loss, []

    def loss_of(*inputs: Any) -> Any:
        calls.append(None)
        if processes.rank == 1 and len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*inputs)

    learner.batch_loss = loss_of
    return train_together(processes, config, cache, run)


def train_until_the_second_fails(processes: Processes, config: TrainConfig, cache: Path, run: Path) -> Watcher:
    read = Loader.batches

    def fail(loader: Loader, *stopping: Any) -> Iterator[TrainBatch]:
        for number, batch in enumerate(read(loader, *stopping)):
            if number == 1 and processes.rank == 1:
                raise TrainingError("a rig that cannot be read")
            yield batch

    Loader.batches = fail  # type: ignore[method-assign]
    try:
        return train_together(processes, config, cache, run)
    finally:
        Loader.batches = read  # type: ignore[method-assign]


def sum_and_gradient(processes: Processes) -> tuple[list[float], list[float]]:
    x = torch.tensor([1.0, 2.0]) * (1, 10)[processes.rank]
    x.requires_grad_()
    total = sum_over_processes(x)
    total.square().sum().backward()
    assert x.grad is not None
    return total.tolist(), x.grad.tolist()


def means(processes: Processes) -> tuple[float, list[float]]:
    values = ([1.0, 2.0, 3.0], [10.0, 99.0, 99.0])[processes.rank]
    x, mask = torch.tensor([values]), torch.tensor([[True, processes.rank == 0, processes.rank == 0]])
    return float(masked_mean(x, mask)), masked_mean(x, mask, dim=1).flatten().tolist()


def normalise(processes: Processes, x: np.ndarray) -> tuple[np.ndarray, ...]:
    norm = SharedBatchNorm2d(3)
    mine = torch.from_numpy(x)[3 * processes.rank :][:3]
    found = norm(mine).detach().numpy()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return found, norm.running_mean.numpy(), norm.running_var.numpy()
