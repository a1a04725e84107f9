"""Stage 1 on a Dask cluster, parts of which die: the cache is the one that a single process makes, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dask
import distributed
import psutil
import pytest
from distributed.security import Security

from cache_schema.storage import local
from stages.cache_teacher import cluster as clusters
from stages.cache_teacher import workers
from stages.cache_teacher.dask_worker import device_of_worker
from tests.dgp_world import write_dgp_world
from tests.pipeline.conftest import Cli, cache_command, one_line
from tests.pipeline.processes import Cluster, Faults, fsmde, meanwhile, soon, start, start_fork_server
from tests.pipeline.test_bad_input import truncated_jpeg
from tests.pipeline.test_chain import file_contents

ONE = ("--shard-rigs", "1")
INTERRUPTED = "fsmde: error: interrupted; what is finished is kept, run the same command again to go on\n"


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    start_fork_server()
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def processes(faults: Faults) -> Iterator[Cluster]:
    cluster = Cluster(faults)
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(processes: Cluster, faults: Faults) -> Iterator[Cluster]:
    """A scheduler and two workers, whatever the last test did to them."""
    processes.complete()
    yield processes
    faults.spare()
    faults.release()


@pytest.fixture(scope="module")
def undisturbed(cache_world: Cli, world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The cache that one process makes."""
    path = tmp_path_factory.mktemp("undisturbed") / "zarr"
    assert cache_world(world, path, *ONE).exit_code == 0
    return file_contents(path)


def journal(cache: Path) -> list[str]:
    """The records of finished shards."""
    folder = cache / ".fsmde" / "journal"
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("0*.json"))


def first_held(faults: Faults) -> int:
    return soon(faults.held)[0]


def test_a_cluster_writes_the_same_bytes(
    cluster: Cluster, cache_world: Cli, world: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    result = cache_world(world, tmp_path / "zarr", *ONE, "--scheduler", cluster.address)
    assert result.exit_code == 0, result.output
    assert f"Dask scheduler {cluster.address}" in result.output
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_a_worker_killed_while_it_writes_is_made_up_for(
    cluster: Cluster, faults: Faults, cache_world: Cli, world: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    faults.hold()

    def kill() -> None:
        pid = first_held(faults)
        assert list((tmp_path / "zarr").rglob("*.partial")), "it is in the middle of a file"
        cluster.worker(pid).kill()
        faults.release()

    with meanwhile(kill):
        result = cache_world(world, tmp_path / "zarr", *ONE, "--scheduler", cluster.address)
    assert result.exit_code == 0, result.output
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_a_run_waits_for_workers_and_gives_up_in_the_end(
    cluster: Cluster,
    faults: Faults,
    cache_world: Cli,
    world: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "LOOK_S", 0.1)
    monkeypatch.setattr(workers, "WITHOUT_WORKERS_S", 1.0)
    faults.hold()

    def kill() -> None:
        first_held(faults)
        for worker in cluster.workers:
            worker.kill()
        faults.release()

    arguments = (world, tmp_path / "zarr", *ONE, "--scheduler", cluster.address)
    with meanwhile(kill):
        failed = cache_world(*arguments)
    message = one_line(failed)
    assert f"{cluster.address} has had no workers for 1 s" in message
    assert f"dask worker {cluster.address}" in message
    assert f"{cluster.address} has no workers left; waiting for one" in failed.output

    monkeypatch.setattr(workers, "WITHOUT_WORKERS_S", 60.0)
    cluster.complete(1)
    faults.hold()

    def replace() -> None:
        cluster.worker(first_held(faults)).kill()
        faults.release()
        time.sleep(1)
        cluster.complete(1)

    with meanwhile(replace):
        assert cache_world(*arguments).exit_code == 0
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_a_task_that_kills_its_workers_is_given_up(
    cluster: Cluster,
    faults: Faults,
    cache_world: Cli,
    world: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "LOOK_S", 0.1)
    faults.kill()
    arguments = (world, tmp_path / "zarr", *ONE, "--scheduler", cluster.address)
    given_up = threading.Event()

    def replace_the_dead() -> None:
        while not given_up.wait(0.1):
            cluster.complete()

    with meanwhile(replace_the_dead):
        try:
            message = one_line(cache_world(*arguments))
        finally:
            given_up.set()
    assert "train rigs" in message
    assert "every worker that tried it died" in message
    assert "--shard-rigs" in message
    faults.spare()
    cluster.complete()
    assert cache_world(*arguments).exit_code == 0
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_an_error_in_a_task_is_that_of_a_single_process_and_what_had_begun_is_kept(
    cluster: Cluster, faults: Faults, cache_world: Cli, tmp_path: Path
) -> None:
    raw = write_dgp_world(tmp_path / "raw", scenes=1, samples=2)
    assert cache_world(raw, tmp_path / "whole", *ONE, "--split", "train").exit_code == 0
    damaged = shutil.copytree(raw, tmp_path / "damaged")
    truncated_jpeg(damaged)
    alone = one_line(cache_world(damaged, tmp_path / "alone", *ONE, "--split", "train"))
    faults.hold()

    def release() -> None:
        first_held(faults)
        time.sleep(1)  # meanwhile the other worker meets the damaged file
        faults.release()

    arguments = (damaged, tmp_path / "zarr", *ONE, "--split", "train", "--scheduler", cluster.address)
    with meanwhile(release):
        message = one_line(cache_world(*arguments))
    assert message.split("; their list")[0] == alone.split("; their list")[0]
    assert journal(tmp_path / "zarr") == ["train/frames/000000.json", "train/teachers/tiny/000000.json"]
    shutil.rmtree(damaged)
    shutil.copytree(raw, damaged)
    assert cache_world(*arguments).exit_code == 0
    assert file_contents(tmp_path / "zarr") == file_contents(tmp_path / "whole")


def test_a_lost_scheduler(
    cluster: Cluster, faults: Faults, cache_world: Cli, world: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    faults.hold()

    def kill() -> None:
        first_held(faults)
        cluster.scheduler.kill()
        faults.release()

    with meanwhile(kill):
        message = one_line(cache_world(world, tmp_path / "zarr", *ONE, "--scheduler", cluster.address))
    assert f"the Dask scheduler {cluster.address} was lost" in message
    assert "run the same command again" in message
    assert cache_world(world, tmp_path / "zarr", *ONE).exit_code == 0
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_a_worker_of_a_killed_run_is_waited_for(
    cluster: Cluster,
    faults: Faults,
    cache_world: Cli,
    world: Path,
    teacher: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = cache_command(world, teacher, tmp_path / "zarr", *ONE, "--scheduler", cluster.address)
    faults.hold()
    first = start(fsmde, command, Faults(tmp_path), "first")
    soon(faults.held)
    first.kill()

    monkeypatch.setattr(local, "STRAGGLER_S", 0.5)
    message = one_line(cache_world(world, tmp_path / "zarr", *ONE))
    assert "a worker of an interrupted run still writes its shard" in message
    assert "run the same command again" in message

    monkeypatch.setattr(local, "STRAGGLER_S", 60.0)
    still_empty = []

    def release() -> None:
        soon((tmp_path / "zarr/.fsmde/owner.json").exists)
        time.sleep(1)
        still_empty.append(journal(tmp_path / "zarr"))
        faults.release()

    with meanwhile(release):
        assert cache_world(world, tmp_path / "zarr", *ONE).exit_code == 0
    assert still_empty == [[]], "the new run writes nothing while a worker of the old one does"
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_tls(
    faults: Faults,
    cache_world: Cli,
    world: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    security = Security.temporary()
    ca, key, certificate = (tmp_path / name for name in ("ca.pem", "key.pem", "certificate.pem"))
    ca.write_text(security.tls_ca_file)
    key.write_text(security.tls_client_key)
    certificate.write_text(security.tls_client_cert)
    options = ("--tls-ca-file", str(ca), "--tls-key", str(key), "--tls-cert", str(certificate))
    cluster = Cluster(faults, "tls", options)
    try:
        cluster.complete()
        arguments = (world, tmp_path / "zarr", *ONE, "--scheduler", cluster.address)
        message = one_line(cache_world(*arguments))
        assert f"no Dask scheduler answers at {cluster.address}" in message
        assert "distributed.comm.tls" in message
        for name, file in (("CA_FILE", ca), ("CLIENT__KEY", key), ("CLIENT__CERT", certificate)):
            monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", str(file))
        dask.config.refresh()
        result = cache_world(*arguments)
    finally:
        monkeypatch.undo()
        dask.config.refresh()
        cluster.close()
    assert result.exit_code == 0, result.output
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_a_scheduler_without_workers(
    faults: Faults, cache_world: Cli, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "FIRST_WORKER_S", 1)
    cluster = Cluster(faults)
    try:
        message = one_line(cache_world(world, tmp_path / "zarr", "--scheduler", cluster.address))
    finally:
        cluster.close()
    assert f"{cluster.address} has no workers" in message
    assert f"dask worker {cluster.address}" in message


@pytest.mark.parametrize(
    ("address", "reason"), [("tcp://127.0.0.1:1", "Timed out"), ("127.0.0.1", "port"), ("no://where:1", "scheme")]
)
def test_no_scheduler(
    cache_world: Cli, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, reason: str
) -> None:
    monkeypatch.setattr(clusters, "CONNECT_S", 1)
    message = one_line(cache_world(world, tmp_path / "zarr", "--scheduler", address))
    assert f"no Dask scheduler answers at {address}" in message
    assert reason in message
    assert "dask scheduler" in message


def test_processes_of_our_own_write_the_same_bytes(
    faults: Faults, cache_world: Cli, world: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Forked, to save time: the next test has them started as they always are."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        result = cache_world(world, tmp_path / "zarr", *ONE, "--workers", "2")
    assert result.exit_code == 0, result.output
    assert "worker 0" in result.output
    assert file_contents(tmp_path / "zarr") == undisturbed


def interrupt(main: psutil.Process, cache: Path, shards: int) -> list[psutil.Process]:
    """Ctrl-C once there are two workers and so many finished shards; it reaches all processes. Returns the children."""
    soon(lambda: len(spawned(main)) == 2 and len(journal(cache)) >= shards)
    children = main.children(recursive=True)
    for process in (main, *children):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
    return children


def spawned(process: psutil.Process) -> list[psutil.Process]:
    """The workers that a process started: there may be other children, some of which are gone when we look."""
    found = []
    for child in process.children():
        with suppress(psutil.Error):
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def require_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive


def test_ctrl_c_while_workers_start(
    faults: Faults, cache_world: Cli, world: Path, teacher: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    command = cache_command(world, teacher, tmp_path / "zarr", *ONE, "--workers", "2")
    main = start(fsmde, command, Faults(tmp_path), "main")
    children = interrupt(psutil.Process(main.pid), tmp_path / "zarr", shards=0)
    assert main.wait() == 130
    require_gone(children)
    printed = main.log.read_text()
    assert INTERRUPTED in printed
    assert "Traceback" not in printed
    assert cache_world(world, tmp_path / "zarr", *ONE).exit_code == 0
    assert file_contents(tmp_path / "zarr") == undisturbed


def test_a_second_ctrl_c_kills_workers_that_take_their_time(
    faults: Faults, cache_world: Cli, world: Path, teacher: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """They have hardly begun to start, and would first do so."""
    command = cache_command(world, teacher, tmp_path / "zarr", *ONE, "--workers", "2")
    main = start(fsmde, command, Faults(tmp_path), "main")
    children = interrupt(psutil.Process(main.pid), tmp_path / "zarr", shards=0)
    for child in children:
        child.suspend()
    time.sleep(1)
    second = time.monotonic()
    os.kill(main.pid, signal.SIGINT)
    assert main.wait() == 130
    assert time.monotonic() - second < 4
    require_gone(children)
    assert INTERRUPTED in main.log.read_text()
    assert cache_world(world, tmp_path / "zarr", *ONE).exit_code == 0
    assert file_contents(tmp_path / "zarr") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("shards", [0, 1], ids=["while workers start", "while workers write"])
def test_ctrl_c_in_a_terminal(
    cache_world: Cli, world: Path, teacher: Path, undisturbed: dict[str, bytes], tmp_path: Path, shards: int
) -> None:
    """From the start of the interpreter to its end, where the standard error is that one line alone."""
    command = cache_command(world, teacher, tmp_path / "zarr", *ONE, "--workers", "2")
    fsmde = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    with subprocess.Popen([*fsmde, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        children = interrupt(psutil.Process(process.pid), tmp_path / "zarr", shards)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert message == INTERRUPTED
    require_gone(children)
    assert cache_world(world, tmp_path / "zarr", *ONE).exit_code == 0
    assert file_contents(tmp_path / "zarr") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "nanny and worker"])
def test_the_commands_of_dask(
    cache_world: Cli, world: Path, undisturbed: dict[str, bytes], tmp_path: Path, killed: str
) -> None:
    """Scheduler and workers as people start them: each worker has a nanny, which starts it again."""
    dask_command = [sys.executable, "-m", "dask"]
    settings = ("--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json"))
    log = (tmp_path / "log").open("w")
    scheduler = subprocess.Popen(
        [*dask_command, "scheduler", "--host", "127.0.0.1", "--port", "0", *settings], stdout=log, stderr=log
    )
    worker_command = [*dask_command, "worker", "--nthreads", "1", "--local-directory", str(tmp_path), *settings]
    nannies = [subprocess.Popen(worker_command, stdout=log, stderr=log) for _ in range(2)]

    def kill() -> None:
        soon(lambda: journal(tmp_path / "zarr"))
        nanny = psutil.Process(nannies[0].pid)
        (worker,) = spawned(nanny)
        if killed != "worker":
            nanny.kill()
        worker.kill()

    try:
        address = soon(lambda: _address(tmp_path / "scheduler.json"))
        with distributed.Client(address) as client:
            client.wait_for_workers(2, timeout=60)
            with meanwhile(kill):
                result = cache_world(world, tmp_path / "zarr", *ONE, "--scheduler", address)
            assert result.exit_code == 0, (tmp_path / "log").read_text()
            if killed == "worker":
                client.wait_for_workers(2, timeout=60)
    finally:
        for process in (*nannies, scheduler):
            process.terminate()
        for process in (*nannies, scheduler):
            process.wait(30)
        log.close()
    assert file_contents(tmp_path / "zarr") == undisturbed


def _address(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workers", "2", "--scheduler", "tcp://127.0.0.1:1"), "workers or scheduler, not both"),
        (("--workers", "0"), "workers"),
    ],
)
def test_workers_that_cannot_be(
    cache_world: Cli, world: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in one_line(cache_world(world, tmp_path / "zarr", *arguments))
    assert not (tmp_path / "zarr").exists()


@pytest.mark.parametrize("arguments", [("--workers", "2"), ("--scheduler", "tcp://127.0.0.1:1")])
def test_other_processes_do_not_see_our_memory(cache_world: Cli, world: Path, arguments: tuple[str, ...]) -> None:
    message = one_line(cache_world(world, "memory://of-this-process", *arguments))
    assert "other processes do not see memory://of-this-process" in message
    assert "leave out --workers and --scheduler" in message


@pytest.mark.parametrize(
    ("device", "worker", "gpus", "expected"),
    [("auto", 0, 2, "cuda:0"), ("auto", "3", 2, "cuda:1"), ("auto", 1, 0, "auto"), ("cuda:1", 0, 2, "cuda:1")],
)
def test_each_process_has_a_gpu_in_turn(device: str, worker: int | str, gpus: int, expected: str) -> None:
    assert device_of_worker(device, worker, gpus) == expected
