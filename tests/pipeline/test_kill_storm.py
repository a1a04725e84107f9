"""Killed at any instant and started again, stage 1 ends in the cache of a run that nothing disturbed, byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import pytest

from cache_schema import ImageSpec
from stages.cache_teacher.config import CacheTeacherConfig, TargetSettings, TeacherSettings
from tests.dgp_world import RING
from tests.pipeline.mortal import AtOperation
from tests.pipeline.processes import start_fork_server
from tests.pipeline.storm import Storm, Whole, storm, storm_over_workers, uninterrupted
from tests.stages.cache_teacher.datasets.test_ego_masks import write_mask


@pytest.fixture(scope="module")
def settings(world: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> CacheTeacherConfig:
    """Two splits of two shards each."""
    masks = tmp_path_factory.mktemp("masks")
    write_mask(masks / f"{RING[3]}_mask.png", [[255] * 3, [0, 0, 255]])
    return CacheTeacherConfig(
        dataset="ddad",
        root=world,
        teacher=TeacherSettings(id=str(teacher), flip=False),
        image=ImageSpec(height=64, width=96),
        targets=TargetSettings(token_grid=(2, 3)),
        ego_masks=masks,
        shard_rigs=2,
        device="cpu",
    )


@pytest.fixture(scope="module")
def whole(settings: CacheTeacherConfig, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "ignore:resource_tracker")  # the killed leave semaphores, which it clears away
        start_fork_server()
    folder = tmp_path_factory.mktemp("whole")
    return uninterrupted(at(settings, folder / "zarr"), folder / "trace")


def at(settings: CacheTeacherConfig, cache: Path) -> CacheTeacherConfig:
    return settings.model_copy(update={"cache": str(cache)})


def each_in_a_folder(storm_of: Callable[[int, Path], Storm], seeds: Iterable[int], folder: Path) -> list[Storm]:
    """Storms with these seeds; the folders of caches that came out wrong are kept."""
    storms = []
    for seed in seeds:
        own = folder / f"storm-{seed}"
        own.mkdir()
        storms.append(storm_of(seed, own))
        if not storms[-1].differences:
            shutil.rmtree(own)
    return storms


def require_identical(storms: list[Storm], of: str = "") -> None:
    kills, in_shards = sum(len(each.kills) for each in storms), sum(each.in_shards for each in storms)
    identical = sum(not each.differences for each in storms)
    count = f"{identical} of {len(storms)} caches identical, {kills} kills{of}"
    print(f"\n{count}, of which {in_shards} inside a shard's write")
    assert identical == len(storms), "\n".join(str(each) for each in storms if each.differences)
    assert kills, "nothing was killed"


@pytest.mark.parametrize("seeds", [range(5), pytest.param(range(5, 105), marks=pytest.mark.slow)], ids=len)
def test_a_killed_run_resumes_to_the_same_bytes(
    seeds: range, settings: CacheTeacherConfig, whole: Whole, tmp_path: Path
) -> None:
    def storm_of(seed: int, folder: Path) -> Storm:
        return storm(seed, at(settings, folder / "zarr"), whole, folder / "trace")

    require_identical(each_in_a_folder(storm_of, seeds, tmp_path))


@pytest.mark.parametrize("victim", ["main", "worker"])
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 21), marks=pytest.mark.slow)], ids=len)
def test_a_run_with_workers_survives_the_death_of_one_process(
    victim: Literal["main", "worker"], seeds: range, settings: CacheTeacherConfig, whole: Whole, tmp_path: Path
) -> None:
    def storm_of(seed: int, folder: Path) -> Storm:
        return storm_over_workers(seed, at(settings, folder / "zarr"), whole, folder / "processes", victim)

    of = " of a worker" if victim == "worker" else " of the main process beside its workers"
    require_identical(each_in_a_folder(storm_of, seeds, tmp_path), of)


def test_a_worker_killed_at_its_journal_record_is_made_up_for(
    settings: CacheTeacherConfig, whole: Whole, tmp_path: Path
) -> None:
    unnamed = AtOperation(3, "journal record", "before")  # written and flushed, not yet renamed
    done = storm_over_workers(0, at(settings, tmp_path / "zarr"), whole, tmp_path / "processes", "worker", unnamed)
    require_identical([done], " of a worker")
