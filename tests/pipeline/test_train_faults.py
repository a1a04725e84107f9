"""What befalls `fsmde train` from outside: it goes on, or ends with one line and a status, and never just waits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.train.checkpoint import checkpoints
from tests.pipeline.processes import Faults, Running, fsmde, soon, start, start_fork_server
from tests.pipeline.test_torchrun import SMALL
from tests.tiny_cache import write_tiny_cache

ENDLESS = ("--steps", "1000000")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    start_fork_server()
    return write_tiny_cache(tmp_path_factory.mktemp("cache") / "zarr")


def training(cache: Path, run: Path, *more: str, workers: int = 1) -> list[str]:
    settings = [part for setting in SMALL[:-1] for part in ("--set", setting)]
    words = ("train", "--cache", cache, "--run", run, "--device", "cpu", "--workers", workers, *settings, *more)
    return [str(word) for word in words]


@contextmanager
def running(folder: Path, arguments: list[str], name: str = "train") -> Iterator[Running]:
    process = start(fsmde, arguments, Faults(folder), name)
    try:
        yield process
    finally:
        if process.alive:
            process.kill()


def readers_of(process: Running) -> list[int]:
    """Ids of the processes that it has started and that read."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def error_of(process: Running) -> str:
    """The one line that says why it ended."""
    assert process.wait() != 0
    text = process.log.read_text()
    assert "Traceback" not in text, text
    [line] = [line for line in text.splitlines() if "fsmde: error:" in line]
    return line


def test_a_small_shared_memory_is_enough(cache: Path, tmp_path: Path):
    """Docker gives a container 64 MB of it."""
    mounted = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    big = write_tiny_cache(tmp_path / "zarr", rigs=4, size_hw=(192, 320), splits=("train",))
    command = [sys.executable, "-m", "pipeline", *training(big, tmp_path / "run", "--steps", "4", workers=2)]
    if subprocess.run(["unshare", "-m", "bash", "-c", mounted, "-", "true"], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", mounted, "-", *command],
        capture_output=True, text=True, timeout=300, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"readers  2, up to 4 batches of 4\.\d+ MB ahead, .*, not in /dev/shm", done.stdout), done.stdout


def test_a_killed_reader_changes_nothing(cache: Path, tmp_path: Path):
    def train(name: str) -> Iterator[Running]:
        return running(tmp_path, training(cache, tmp_path / name, "--steps", "60", "--set", "checkpoint_every=1"), name)

    with train("whole") as process:
        assert process.wait() == 0
    with train("disturbed") as process:
        soon(lambda: checkpoints(tmp_path / "disturbed"))
        for reader in readers_of(process):
            os.kill(reader, signal.SIGKILL)
        assert process.wait() == 0
    assert (
        "a reader was killed (SIGKILL); another reads the same rigs again" in (tmp_path / "disturbed.log").read_text()
    )
    other = load_file(tmp_path / "disturbed" / "student" / "model.safetensors")
    for name, value in load_file(tmp_path / "whole" / "student" / "model.safetensors").items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_waits_for_a_batch_can_be_stopped(cache: Path, tmp_path: Path, number: signal.Signals):
    run = tmp_path / "run"
    with running(tmp_path, training(cache, run, *ENDLESS, "--set", "checkpoint_every=5")) as process:
        soon(lambda: checkpoints(run))
        readers = readers_of(process)
        for reader in readers:
            os.kill(reader, signal.SIGSTOP)  # as a store does that does not answer
        os.kill(process.pid, number)
        assert "interrupted; what is finished is kept" in error_of(process)
        assert process.wait() == 128 + number
        soon(lambda: all(map(gone, readers)))


def test_readers_end_with_a_trainer_that_is_killed(cache: Path, tmp_path: Path):
    run = tmp_path / "run"
    with running(tmp_path, training(cache, run, *ENDLESS, "--set", "checkpoint_every=5")) as process:
        soon(lambda: checkpoints(run))
        readers = readers_of(process)
        assert readers
        process.kill()
        soon(lambda: all(map(gone, readers)))


def test_a_full_disk_costs_the_steps_since_the_last_checkpoint(cache: Path, tmp_path: Path):
    disk, run = tmp_path / "disk", tmp_path / "disk" / "run"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with running(tmp_path, training(cache, run, *ENDLESS, "--set", "checkpoint_every=5")) as process:
            soon(lambda: checkpoints(run))
            with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
                while True:
                    ballast.write(bytes(4096))
            line = error_of(process)
        assert f"{run}: [Errno 28] No space left on device" in line
        assert "free some space" in line
        [*_, last] = checkpoints(run)
        assert f"{last} is kept, and the same command goes on from it" in line
        assert not list(run.glob("**/*.partial"))

        with running(tmp_path, training(cache, run, *ENDLESS, "--set", "checkpoint_every=5"), "full") as process:
            assert "checkpoints and student take" in error_of(process)
        (disk / "ballast").unlink()
        with running(tmp_path, training(cache, run, *ENDLESS, "--set", "checkpoint_every=5"), "again") as process:
            soon(lambda: checkpoints(run)[-1] != last)
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait() == 143
    finally:
        subprocess.run(["umount", disk], check=True)
