"""A run that was trained, scored, timed and reported, on a scene whose name is a trap."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dgp_world import write_dgp_world
from tests.pipeline.conftest import TRAIN_SMALL, Cli

SCENE = "<script>document.title = 'caught'; alert(1)"
"""Of the split that is scored."""


@pytest.fixture(scope="module")
def reported(cli: Cli, cache_world: Cli, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache `zarr` and a run `run`, whose report is written."""
    folder = tmp_path_factory.mktemp("reported")
    world = write_dgp_world(folder / "raw", samples=3)
    (world / "000001").rename(world / SCENE)
    described = world / "ddad.json"
    described.write_text(described.read_text().replace("000001/", f"{SCENE}/"))
    assert cache_world(world, folder / "zarr").exit_code == 0
    cache, run = ("--cache", folder / "zarr"), ("--run", folder / "run")
    for command in (
        ("train", *cache, *run, *TRAIN_SMALL, "--set", "log_every=1"),
        ("evaluate", *cache, *run, "--protocol", "native", "--protocol", "network"),
        ("latency", *cache, *run, "--teacher", teacher),
        ("report", *cache, *run),
    ):
        result = cli(*command)
        assert result.exit_code == 0, result.output
    return folder
