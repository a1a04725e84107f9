"""`fsmde train` as torchrun starts it: two processes on this machine, asked to stop, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.train.checkpoint import checkpoints
from tests.pipeline.processes import soon
from tests.tiny_cache import write_tiny_cache

SMALL = (
    "student.encoder.embedding_size=8", "student.encoder.depths=[1,1,1,1]", "student.encoder.hidden_sizes=[8,16,16,32]",
    "student.decoder_channels=16", "student.bins=16", "checkpoint_every=100000",
)  # fmt: skip


PATIENCE_S = 300.0
"""Three processes import torch, on what cores there are."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr")


def torchrun(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Two processes of `fsmde` with these arguments."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [*launcher, "-m", "pipeline", "--", *arguments]  # -- lest torchrun takes --run for its own
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment)


def training(cache: Path, run: Path, *more: str) -> tuple[str, ...]:
    settings = [part for setting in SMALL for part in ("--set", setting)]
    return ("train", "--cache", str(cache), "--run", str(run), "--device", "cpu", "--workers", "1", *settings, *more)


def test_a_job_that_is_asked_to_stop_saves_and_goes_on(cache: Path, tmp_path: Path):
    run, log = tmp_path / "run", tmp_path / "log"
    job = torchrun(log, *training(cache, run, "--steps", "100000", "--set", "log_every=1"))
    try:
        soon(
            lambda: [file for file in run.glob("tensorboard/*") if file.stat().st_size > 2000] or job.poll(), PATIENCE_S
        )
        assert job.poll() is None, log.read_text()
        job.send_signal(signal.SIGTERM)
        assert job.wait(PATIENCE_S) != 0
    finally:
        job.kill()
    text = log.read_text()
    assert len(checkpoints(run)) == 1, text
    assert text.count("fsmde: error: interrupted; what is finished is kept") == 1, text
    assert text.count("shared   by 2 processes") == 1, text
    state = json.loads((checkpoints(run)[0] / "state.json").read_text())
    assert state["step"] > 0
    assert state["stream"]["epoch"] * 6 + state["stream"]["position"] == 2 * state["step"]


@pytest.mark.slow  # half a minute of importing torch; in test_processes.py all of it but torchrun
def test_what_cannot_be_is_told_once(cache: Path, tmp_path: Path):
    log = tmp_path / "log"
    job = torchrun(log, *training(cache, tmp_path / "run", "--batch-rigs", "3"))
    assert job.wait(PATIENCE_S) != 0
    assert log.read_text().count("fsmde: error: 2 processes cannot share 3 rigs of a step evenly") == 1
    assert not (tmp_path / "run" / "config.json").exists()
