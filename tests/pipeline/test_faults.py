"""What befalls stage 1 from outside: nothing written is lost, one line says what to do, and it goes on from there."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cache_schema import Cache
from cache_schema.errors import CacheLockedError
from stages.cache_teacher import execute
from tests.cache_schema.test_writer import block, open_writer
from tests.pipeline.conftest import TRAIN_SMALL, Cli, cache_command, one_line
from tests.pipeline.processes import Faults, fsmde, soon, start, start_fork_server
from tests.pipeline.test_bad_input import last_file
from tests.pipeline.test_chain import file_contents
from tests.tiny_cache import split_record

Mount = Callable[..., None]


@pytest.fixture(scope="module")
def undisturbed(cache_world: Cli, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a run that nothing disturbs."""
    path = tmp_path_factory.mktemp("undisturbed") / "zarr"
    assert cache_world(world, path).exit_code == 0
    return path


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount on a folder, which is made; skips where that is not permitted."""
    mounted: list[Path] = []

    def run(folder: Path, *arguments: str | Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", *arguments, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        mounted.append(folder)

    yield run
    for folder in reversed(mounted):
        subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """For everybody but root, who may write anything anywhere but on a file system that is mounted so."""
    if os.geteuid() == 0:
        done = subprocess.run(["mount", "--bind", folder, folder], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        try:
            remount(folder, "bind,ro")
            yield
        finally:
            subprocess.run(["umount", folder], check=True)
        return
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def shards(cache: Path) -> list[str]:
    """Those that are finished, by their records in the journal."""
    folder = cache / ".fsmde" / "journal"
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("0*.json"))


def require_tidy(cache: Path) -> None:
    """Nothing is left of the file that could not be written, nor of whoever wrote it."""
    assert not list(cache.rglob("*.partial"))
    assert not (cache / ".fsmde" / "owner.json").exists()
    assert not list((cache / ".fsmde" / "workers").glob("*"))


def test_a_full_disk(cache_world: Cli, world: Path, undisturbed: Path, tmp_path: Path, mount: Mount) -> None:
    needed = sum(-(-file.stat().st_size // 4096) * 4 for file in undisturbed.rglob("*") if file.is_file())
    path = tmp_path / "small" / "zarr"
    mount(path.parent, "-t", "tmpfs", "-o", f"size={needed * 2 // 3}k", "tmpfs")
    message = one_line(cache_world(world, path))
    assert f"{path}/" in message
    assert "cannot be written (No space left on device)" in message
    assert "make room" in message
    require_tidy(path)
    finished = shards(path)
    assert 0 < len(finished) < len(shards(undisturbed))
    written = [path / ".fsmde" / "journal" / record for record in finished]
    times = [record.stat().st_mtime_ns for record in written]

    assert "No space left" in one_line(cache_world(world, path)), "and once more, to the same end"
    require_tidy(path)

    remount(path.parent, f"size={needed * 2}k")
    assert cache_world(world, path).exit_code == 0
    assert file_contents(path) == file_contents(undisturbed)
    assert [record.stat().st_mtime_ns for record in written] == times, "what was finished is not redone"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_disk_that_is_full_when_files_are_flushed(
    cache_world: Cli, world: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """As network file systems say it; at many a moment of the run."""
    flush, flushes = os.fsync, 0
    full_at = share * 1.1 * len(file_contents(undisturbed))

    def full(descriptor: int) -> None:
        nonlocal flushes
        flushes += 1
        if flushes > full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    message = one_line(cache_world(world, tmp_path / "zarr"))
    assert "cannot be written (No space left on device)" in message
    assert str(tmp_path / "zarr") in message
    require_tidy(tmp_path / "zarr")
    monkeypatch.setattr(os, "fsync", flush)
    assert cache_world(world, tmp_path / "zarr").exit_code == 0
    assert file_contents(tmp_path / "zarr") == file_contents(undisturbed)


def test_a_read_only_target(cache_world: Cli, world: Path, undisturbed: Path, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "zarr"
    path.parent.mkdir()
    with read_only(path.parent):
        message = one_line(cache_world(world, path))
    assert f"{path}" in message
    assert "cannot be written" in message
    assert "mend that, or choose another --cache" in message
    assert not list(path.parent.iterdir())
    assert cache_world(world, path, "--split", "train").exit_code == 0
    before = file_contents(path)
    with read_only(path):
        message = one_line(cache_world(world, path))
    assert f"--cache {path} cannot be written" in message
    assert file_contents(path) == before
    assert cache_world(world, path).exit_code == 0
    assert file_contents(path) == file_contents(undisturbed)


def test_a_read_only_cache_is_read(cli: Cli, undisturbed: Path, tmp_path: Path) -> None:
    before = file_contents(undisturbed)
    with read_only(undisturbed):
        cache = Cache(undisturbed)
        for split, record in cache.manifest.splits.items():
            assert len(cache.split(split)[:]) == len(cache.targets(split, "tiny")[:]) == record.rigs
        trained = cli("train", "--cache", undisturbed, "--run", tmp_path / "run", *TRAIN_SMALL)
        assert trained.exit_code == 0, trained.output
        scored = cli("evaluate", "--cache", undisturbed, "--run", tmp_path / "run", "--device", "cpu")
        assert scored.exit_code == 0, scored.output
        verified = cli("verify", undisturbed)
        assert verified.exit_code == 0, verified.output
    assert file_contents(undisturbed) == before


def test_the_second_of_two_runs_is_refused_and_the_first_goes_on(
    cache_world: Cli, world: Path, teacher: Path, undisturbed: Path, tmp_path: Path
) -> None:
    start_fork_server()
    path, faults = tmp_path / "zarr", Faults(tmp_path)
    faults.hold("train/frames/image/")
    first = start(fsmde, cache_command(world, teacher, path), faults, "first")
    try:
        soon(faults.held)
        message = one_line(cache_world(world, path))
        faults.release()
        assert first.wait() == 0, first.log.read_text()
    finally:
        first.kill()
    assert f"{path} is being written by process {first.pid} on host {socket.gethostname()}" in message
    assert "wait for it to finish, or use another --cache" in message
    assert file_contents(path) == file_contents(undisturbed)


def test_what_an_ended_run_left_working_may_not_write(tmp_path: Path) -> None:
    with open_writer(tmp_path / "zarr") as writer:
        frames = writer.add_split("train", split_record(6))
    before = file_contents(tmp_path / "zarr")
    for shard in frames.pending():
        with pytest.raises(CacheLockedError, match="is no longer written by the run of this worker"):
            frames.write(shard, block(shard.start, shard.stop))
    assert file_contents(tmp_path / "zarr") == before


@pytest.mark.parametrize("pattern", ["rgb/CAMERA_09/*.jpg", "point_cloud/LIDAR/*.npz"])
def test_a_raw_file_that_vanishes_after_the_plan(
    cache_world: Cli, world: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    file = last_file(world, pattern)
    away = tmp_path / file.name
    identify = execute.identify

    def vanish(config: object) -> object:
        file.rename(away)
        return identify(config)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(execute, "identify", vanish)
        try:
            message = one_line(cache_world(world, tmp_path / "zarr"))
        finally:
            away.rename(file)
    assert str(file) in message
    others = [shard for shard in shards(undisturbed) if not shard.startswith("train/") or "000001" not in shard]
    assert shards(tmp_path / "zarr") == others
    require_tidy(tmp_path / "zarr")
    assert cache_world(world, tmp_path / "zarr").exit_code == 0
    assert file_contents(tmp_path / "zarr") == file_contents(undisturbed)
