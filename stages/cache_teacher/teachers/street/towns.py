"""Pictures of random towns, rendered by processes of their own while the network learns from earlier ones.

A town is one file in a folder, the same whenever and by whomever it is rendered: a training that is resumed finds
what is there and renders the rest again. Which towns a step may draw from is a function of the step, so training
gives the same weights however fast the towns come.
"""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Float, UInt8

from cache_schema.durable import TEMPORARY_SUFFIX, replace_file
from cache_schema.errors import TrainingError
from stages.cache_teacher.datasets.street import TEACHER_TRAINING_TOWNS, StreetConfig, drive
from stages.child_process import obey_parent

RIG_INTERVAL_S = 2.0
"""Time between two rigs of a town; longer than in a dataset, so that they show different things."""
NO_LIDAR = {"lidar_beams": 16, "lidar_columns": 8}
"""As little as can be set: depth comes from the renderer."""
AHEAD = 64
"""Towns that are rendered before they are needed."""

Town = tuple[UInt8[np.ndarray, "N H W 3"], Float[np.ndarray, "N H W"]]
"""The pictures of a town, and their depths in metres: inf at the sky, NaN on the own car."""

Render = Callable[[int, int, int, int], Town]
"""Renders a town by its number, a number of rigs, and the height and width of the pictures."""


def render_town(town: int, rigs: int, height: int, width: int) -> Town:
    """What the cameras see in a town of the embedded world, rig after rig."""
    config = StreetConfig(height=height, width=width, rig_interval_s=RIG_INTERVAL_S, **NO_LIDAR)
    seen = list(drive(town, config, rigs))
    return np.concatenate([rig.images for rig in seen]), np.concatenate([rig.depth_m for rig in seen])


@dataclass(frozen=True)
class Supply:
    """How new towns come in: every picture is drawn about `reuse` times before its town is forgotten, or training ends.

    `first` towns are there at the start, and the last `kept` at any time.
    """

    pictures_per_town: int
    batch: int
    reuse: int | float
    first: int
    kept: int

    def window(self, step: int) -> range:
        """The towns, counted from 0, that step 0, 1, … draws from."""
        end = self.first + int(step * self.batch / (self.reuse * self.pictures_per_town))
        return range(max(0, end - self.kept), end)

    def draw(self, step: int, seed: int) -> list[tuple[int, int]]:
        """The pictures of a step: town, counted from 0, and position in it."""
        random, window = np.random.default_rng([seed, step]), self.window(step)
        towns = random.integers(window.start, window.stop, self.batch)
        pictures = random.integers(0, self.pictures_per_town, self.batch)
        return list(zip(towns.tolist(), pictures.tolist(), strict=True))


class TownPool:
    """A folder of rendered towns, and the processes that render more; use as a context manager.

    Without processes (`workers=0`) a town is rendered when it is asked for. Methods raise TrainingError where one of
    the processes died.
    """

    def __init__(
        self, folder: Path, *, rigs: int, height: int, width: int, workers: int, render: Render = render_town
    ) -> None:
        self.waited_s = 0.0
        """Time spent waiting for towns."""
        self._folder = folder
        self._render = render
        self._size = (rigs, height, width)
        self._workers = workers
        self._pending: dict[int, Future[None]] = {}
        self._asked = 0
        self._dropped = 0

    def __enter__(self) -> TownPool:
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink()
        context = multiprocessing.get_context("spawn")  # a fork would copy the trainer's threads in mid-step
        self._processes = (
            ProcessPoolExecutor(self._workers, mp_context=context, initializer=_start_worker) if self._workers else None
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._processes is not None:
            self._processes.shutdown(wait=True, cancel_futures=True)

    def move_to(self, window: range) -> None:
        """Forget the towns before the window, and have those in it and a few beyond it rendered, in order."""
        for index in range(self._dropped, window.start):
            self._file(index).unlink(missing_ok=True)
        self._dropped = window.start
        self._asked = max(self._asked, window.start)
        while self._processes is not None and self._asked < window.stop + AHEAD:
            if not self._file(self._asked).exists():
                with _renderers_live():
                    self._pending[self._asked] = self._processes.submit(_render_to, *self._job(self._asked))
            self._asked += 1

    def picture(self, index: int, position: int) -> tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
        """One picture of a town, counted from 0, and its depth; waits until the town is there."""
        pending = self._pending.pop(index, None)
        if pending is not None or not self._file(index).exists():
            started = time.perf_counter()
            with _renderers_live():
                pending.result() if pending is not None else _render_to(*self._job(index))
            self.waited_s += time.perf_counter() - started
        return unpacked(np.load(self._file(index), mmap_mode="r", allow_pickle=False)[position])

    def _file(self, index: int) -> Path:
        return self._folder / f"{TEACHER_TRAINING_TOWNS[index]}.npy"

    def _job(self, index: int) -> tuple[Path, Render, int, tuple[int, int, int]]:
        return self._file(index), self._render, TEACHER_TRAINING_TOWNS[index], self._size


@contextmanager
def _renderers_live() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process that renders towns died, perhaps for want of memory; the last saved state and the towns are "
            "kept: run the same command again, with fewer --workers or smaller pictures"
        ) from error


def packed(images: UInt8[np.ndarray, "N H W 3"], depth_m: Float[np.ndarray, "N H W"]) -> UInt8[np.ndarray, "N H W 5"]:
    """Pictures and depths as one array of bytes; the depths as float16, which is right to 1/2000."""
    half = np.ascontiguousarray(depth_m, dtype="<f2")
    return np.concatenate([images, half[..., None].view(np.uint8)], axis=-1)


def unpacked(
    picture: UInt8[np.ndarray, "H W 5"],
) -> tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
    """One picture, and its depth as float32."""
    half = np.ascontiguousarray(picture[..., 3:]).view("<f2").squeeze(-1)
    return np.ascontiguousarray(picture[..., :3]), half.astype(np.float32)


def _start_worker() -> None:
    obey_parent()
    torch.set_num_threads(1)  # the trainer needs the other cores


def _render_to(file: Path, render: Render, town: int, size: tuple[int, int, int]) -> None:
    content = io.BytesIO()
    np.save(content, packed(*render(town, *size)), allow_pickle=False)
    replace_file(file, content.getvalue())
