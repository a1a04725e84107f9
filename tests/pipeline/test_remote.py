"""The three stages with a cache in an S3 bucket, as a person types them."""

from __future__ import annotations

import itertools
import json
import re
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache_schema import Cache
from cache_schema.errors import ConfigError
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.execute import execute
from stages.cache_teacher.plan import plan
from stages.progress import Silent
from tests.object_store import answering, objects, s3_server
from tests.pipeline.conftest import TRAIN_SMALL, Cli, one_line


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def folder(cache_world: Cli, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "zarr"
    result = cache_world(world, path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def remote(s3: str, cache_world: Cli, world: Path) -> str:
    url = f"{s3}/world/zarr"
    result = cache_world(world, url)
    assert result.exit_code == 0, result.output
    assert f"Next: fsmde train --cache {url}" in result.output
    return url


def test_stage_1_writes_the_same_objects(remote: str, folder: Path, cache_world: Cli, world: Path) -> None:
    assert objects(remote) == objects(folder)
    again = cache_world(world, remote)
    assert again.exit_code == 0, again.output
    assert "nothing to do" in again.output


def test_stages_2_and_3_read_the_same(remote: str, folder: Path, cli: Cli, tmp_path: Path) -> None:
    """Stage 2 with a spawned process that reads ahead."""
    scores = []
    for cache, workers in ((folder, "0"), (remote, "1")):
        run = tmp_path / f"run {workers}"
        trained = cli("train", "--cache", cache, "--run", run, *TRAIN_SMALL, "--steps", "2", "--workers", workers)
        assert trained.exit_code == 0, trained.output
        scored = cli("evaluate", "--cache", cache, "--run", run, "--device", "cpu")
        assert scored.exit_code == 0, scored.output
        scores.append(json.loads((run / "metrics.json").read_text())["scores"])
    students = [(tmp_path / f"run {workers}/student/model.safetensors").read_bytes() for workers in (0, 1)]
    assert students[0] == students[1]
    assert scores[0] == scores[1]


def test_it_is_verified(remote: str, cli: Cli) -> None:
    result = cli("verify", remote)
    assert result.exit_code == 0, result.output


def every_stage(cli: Cli, cache_world: Cli, world: Path, cache: str, tmp_path: Path) -> Iterator[str]:
    """The one line that each stage says to a cache that cannot be used, soon."""
    for stage in (
        lambda: cache_world(world, cache),
        lambda: cli("train", "--cache", cache, "--run", tmp_path / "run", *TRAIN_SMALL),
        lambda: cli("evaluate", "--cache", cache, "--run", tmp_path / "run", "--device", "cpu"),
    ):
        start = time.monotonic()
        yield one_line(stage())
        assert time.monotonic() - start < 15


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist(cli: Cli, cache_world: Cli, world: Path, tmp_path: Path) -> None:
    for message in every_stage(cli, cache_world, world, "s3://missing-bucket/x", tmp_path):
        assert re.search(r"s3://missing-bucket/x/\S+ cannot be reached: there is no bucket missing-bucket;", message)
        assert "make it" in message


def test_a_server_that_is_down(
    s3: str, cli: Cli, cache_world: Cli, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for message in every_stage(cli, cache_world, world, f"{s3}/x", tmp_path):
        assert re.search(rf"{s3}/x/\S+ cannot be reached", message)
        assert f"127.0.0.1:{port}" in message
        assert "AWS_ENDPOINT_URL" in message


def test_an_endpoint_without_tls(s3: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert "AWS_ALLOW_HTTP=true" in one_line(cli("evaluate", "--cache", f"{s3}/x"))


def test_credentials_that_the_store_refuses(cli: Cli, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that says of every request what S3 says of a wrong key."""
    said = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InvalidAccessKeyId</Code>'
        b"<Message>The AWS Access Key Id you provided does not exist in our records.</Message></Error>"
    )
    with answering(itertools.repeat(403), said) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        message = one_line(cli("evaluate", "--cache", f"{s3}/x"))
    assert "InvalidAccessKeyId, The AWS Access Key Id you provided" in message
    assert "check the credentials in the environment (AWS_ACCESS_KEY_ID" in message
    assert "<" not in message


def test_no_credentials(cli: Cli, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with answering(itertools.repeat(404), b"") as machine:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", machine)
        message = one_line(cli("evaluate", "--cache", f"{s3}/x"))
    assert "set the credentials in the environment (AWS_ACCESS_KEY_ID" in message


def test_without_obstore(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "obstore":
            monkeypatch.setitem(sys.modules, name, None)
        elif name in {f"cache_schema.storage.{part}" for part in ("remote", "lease", "object_store")}:
            monkeypatch.delitem(sys.modules, name)
    assert "pip install -e '.[remote]'" in one_line(cli("evaluate", "--cache", "s3://bucket/x"))


def test_memory_serves_one_process(world: Path, teacher: Path, folder: Path) -> None:
    settings = {
        "dataset": "ddad",
        "root": world,
        "cache": f"memory://{uuid.uuid4().hex}",
        "teacher": {"id": str(teacher)},
        "image": {"height": 64, "width": 96},
        "targets": {"token_grid": (2, 3)},
        "shard_rigs": 2,
        "splits": ("val",),
        "device": "cpu",
    }
    config = CacheTeacherConfig.model_validate(settings)
    execute(plan(config), Silent(), code_version="test")
    assert len(Cache(config.cache).split("val")) == 3
    alone = CacheTeacherConfig.model_validate({**settings, "workers": 2})
    with pytest.raises(ConfigError, match=f"other processes do not see {config.cache}"):
        execute(plan(alone), Silent(), code_version="test")


@pytest.mark.slow
def test_workers_write_the_same_objects(s3: str, folder: Path, cache_world: Cli, world: Path) -> None:
    url = f"{s3}/{uuid.uuid4().hex}"
    result = cache_world(world, url, "--workers", "2")
    assert result.exit_code == 0, result.output
    assert objects(url) == objects(folder)
