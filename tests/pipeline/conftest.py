"""A dataset, a teacher and the command line, small enough for a test."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import Result
from typer import testing
from typer.testing import CliRunner

from pipeline.cli import app
from tests.dgp_world import write_dgp_world
from tests.tiny_teachers import write_tiny_teacher

SMALL = (
    "--height",
    "64",
    "--width",
    "96",
    "--shard-rigs",
    "2",
    "--set",
    "targets.token_grid=[2, 3]",
    "--device",
    "cpu",
)
TRAIN_SMALL = (
    "--steps", "4", "--workers", "0", "--device", "cpu",
    "--set", "student.encoder.hidden_sizes=[8, 8, 16, 16]", "--set", "student.encoder.embedding_size=8",
    "--set", "student.decoder_channels=8", "--set", "student.cross_view_heads=2",
)  # fmt: skip

# It reads the annotations of all commands again for each that a test gives.
testing._get_command = cache(testing._get_command)  # type: ignore[attr-defined]

Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("raw") / "world", samples=3, incomplete_scene=True)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_teacher(tmp_path_factory.mktemp("teacher") / "tiny")


@pytest.fixture(scope="session")
def cli() -> Cli:
    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def cache_world(cli: Cli, teacher: Path) -> Cli:
    """`fsmde cache-teacher` on a small scale: root, cache, further arguments."""

    def run(root: Path, cache: Path | str, *more: str | Path) -> Result:
        return cli(*cache_command(root, teacher, cache, *more))

    return run


def cache_command(root: Path, teacher: Path, cache: Path | str, *more: str | Path) -> list[str]:
    """The arguments of `cache_world`."""
    words = ("cache-teacher", "--dataset", "ddad", "--root", root, "--teacher", teacher, "--cache", cache)
    return [str(word) for word in (*words, *SMALL, *more)]


def one_line(result: Result) -> str:
    """The error of a command that failed as it should: one line, no traceback."""
    assert result.exit_code != 0
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("fsmde: error: ")
    return lines[0]


def needs_nothing_from_outside(page: str) -> bool:
    """Whether a page names no file or address that a browser would fetch."""
    return not re.search(r"""(src|href)=(?!["']?(data:|#))""", page) and not re.search(r"@import|url\((?!#)", page)


@pytest.fixture(scope="module")
def trained(cli: Cli, cache_world: Cli, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache `zarr` and a run `run`."""
    folder = tmp_path_factory.mktemp("trained")
    assert cache_world(world, folder / "zarr").exit_code == 0
    assert cli("train", "--cache", folder / "zarr", "--run", folder / "run", *TRAIN_SMALL).exit_code == 0
    return folder
