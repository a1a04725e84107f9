"""What is short while training: one line that says so, the last checkpoint, and no reader left behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.tensorboard.writer import SummaryWriter

from cache_schema.errors import CacheCorruptError, TrainingError
from stages.train import curves, learner
from stages.train.checkpoint import checkpoints
from stages.train.config import LoaderConfig, TrainConfig, ValidationConfig
from stages.train.execute import execute
from stages.train.loader import RigDataset
from stages.train.plan import plan
from tests.stages.train.crew import Watcher
from tests.stages.train.small import small_config

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
MEMORY = [
    MemoryError("Unable to allocate 8 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
]


def train(config: TrainConfig, cache: Path, run: Path) -> None:
    execute(plan(config, cache, run), Watcher(), code_version="test")


def raising(error: Exception, at: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose call of that number fails."""
    calls: list[None] = []

    def called(*inputs: Any, **settings: Any) -> Any:
        calls.append(None)
        if len(calls) == at:
            raise error
        return real(*inputs, **settings)

    return called


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: type(error).__name__)
def test_a_lack_of_memory_says_what_takes_less(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    monkeypatch.setattr(learner, "batch_loss", raising(error, 3, learner.batch_loss))
    with pytest.raises(TrainingError) as raised:
        train(small_config(checkpoint_every=1), cache, tmp_path / "run")
    line = str(raised.value)
    assert line.startswith("out of memory on cpu (")
    assert "loader.batch_rigs (now 2), or accumulate (now 1)" in line
    assert line.endswith("step_000002 is kept, and the same command goes on from it")


def test_readers_end_where_training_fails(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learner, "batch_loss", raising(RuntimeError("a bug"), 2, learner.batch_loss))
    with pytest.raises(RuntimeError, match="a bug"):
        train(small_config(loader=LoaderConfig(workers=1)), cache, tmp_path / "run")
    assert not [child for child in multiprocessing.active_children() if child.name == "reader"]


def test_a_checkpoint_that_finds_no_space_leaves_nothing_half_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    monkeypatch.setattr(torch, "save", raising(NO_SPACE, 2, torch.save))
    with pytest.raises(TrainingError, match=r"No space left on device; free some space: .*step_000001 is kept"):
        train(small_config(checkpoint_every=1), cache, run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_000001"]


def test_what_pytorch_says_of_a_full_disk_is_not_what_is_told(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It raises a RuntimeError about positions while it handles the error of the disk."""

    def save(*_: Any) -> None:
        try:
            raise NO_SPACE
        finally:
            raise RuntimeError("unexpected pos 8001216 vs 8001168")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(TrainingError, match="No space left on device; free some space"):
        train(small_config(checkpoint_every=1), cache, tmp_path / "run")


def test_curves_that_find_no_space_are_told_alike(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(curves.SummaryWriter, "add_scalar", raising(NO_SPACE, 3, SummaryWriter.add_scalar))
    with pytest.raises(TrainingError, match="No space left on device; free some space"):
        train(small_config(log_every=1), cache, tmp_path / "run")


def test_too_many_open_files_say_how_many_there_may_be(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    made = plan(small_config(), cache, tmp_path / "run")
    monkeypatch.setattr(RigDataset, "seen", raising(error, 3, RigDataset.seen))
    with pytest.raises(TrainingError, match=r"Too many open files: a process may have \d+; .* ulimit -n"):
        execute(made, Watcher(), code_version="test")


def test_what_was_learned_before_a_rig_that_cannot_be_read_is_saved(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    made = plan(small_config(), cache, run)
    monkeypatch.setattr(RigDataset, "seen", raising(CacheCorruptError("a rig is damaged"), 8, RigDataset.seen))
    with pytest.raises(CacheCorruptError, match="a rig is damaged"):
        execute(made, Watcher(), code_version="test")
    assert [path.name for path in checkpoints(run)] == ["step_000003"], "the panel has read one rig, each step two"


def test_nothing_is_saved_where_no_step_was_taken(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = tmp_path / "run"
    made = plan(small_config(), cache, run)
    monkeypatch.setattr(RigDataset, "seen", raising(CacheCorruptError("a rig is damaged"), 2, RigDataset.seen))
    with pytest.raises(CacheCorruptError, match="a rig is damaged"):
        execute(made, Watcher(), code_version="test")
    assert not checkpoints(run)


def test_a_run_for_which_the_disk_has_no_room_is_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = small_config(steps=9, checkpoint_every=1, validation=ValidationConfig(every=3))
    made = plan(config, cache, tmp_path / "run")
    assert made.run_bytes == (4 * 3 + 1) * 4 * made.weights
    assert plan(small_config(steps=9), cache, tmp_path / "run").run_bytes == (1 * 3 + 1) * 4 * made.weights
    free = shutil.disk_usage(tmp_path)._replace(free=made.run_bytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(TrainingError, match=r"checkpoints and student take .* more, and .* are free; free some"):
        plan(config, cache, tmp_path / "run")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(total=0, free=0))
    plan(config, cache, tmp_path / "run")


def test_the_plan_says_what_readers_hold(cache: Path, tmp_path: Path):
    made = plan(small_config(loader=LoaderConfig(workers=3, batch_rigs=2)), cache, tmp_path / "run")
    batch = RigDataset.open(str(cache), "train", teacher="tiny", image_size=(64, 96))[0]
    assert batch.targets is not None
    tensors = [batch.images, batch.lidar_depth_m, batch.world, batch.targets.view_relation]
    tensors += batch.targets.encoded.values()
    assert made.batch_bytes == 2 * sum(tensor.nbytes for tensor in tensors)
    [line] = [line for line in made.describe() if line.startswith("readers")]
    assert line.startswith("readers  3, up to 6 batches of ")
    assert line.endswith(" ahead, in memory files, not in /dev/shm")
