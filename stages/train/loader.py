"""From the cache to batches on the CPU, in the order of the stream, at any number of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch.utils.data import Dataset, Sampler

from cache_schema import Cache, CachedRig, CachedTargets, FrameReader, TargetReader
from stages.train.ahead import Ahead
from stages.train.augment import WHOLE, Window, augment_rig, draw_for
from stages.train.augment.colour import Colour
from stages.train.augment.window import GRAIN
from stages.train.batch import EncodedTargets, TrainBatch, collate
from stages.train.config import AugmentConfig
from stages.train.images import resize_images
from stages.train.lidar_grid import rasterise
from stages.train.readers import Readers, never, silently
from stages.train.sampler import Visit


class RigDataset(Dataset[TrainBatch]):
    """One rig of a split per index, at the training size. Cheap to pickle: the readers open files lazily.

    Without `lidar`, as if there were no points. `scales` are the metric teacher's scale and shift of each view.
    """

    def __init__(
        self,
        frames: FrameReader,
        targets: TargetReader | None,
        *,
        native_size: tuple[int, int],
        image_size: tuple[int, int],
        lidar: bool = True,
        scales: Float32[np.ndarray, "rig view 2"] | None = None,
    ) -> None:
        self.frames = frames
        self.targets = targets
        self.native_size = native_size
        self.image_size = image_size
        self.lidar = lidar
        self.scales = scales

    @classmethod
    def open(
        cls,
        cache: str,
        split: str,
        *,
        teacher: str | None,
        image_size: tuple[int, int],
        features: bool = False,
        lidar: bool = True,
        scales: Float32[np.ndarray, "rig view 2"] | None = None,
    ) -> RigDataset:
        """The rigs of a split of a cache, with a teacher's targets where one is named. Raises the cache's errors."""
        opened = Cache(cache)
        return cls(
            opened.split(split),
            None if teacher is None else opened.targets(split, teacher, features=features),
            native_size=opened.manifest.dataset.native_size,
            image_size=image_size,
            lidar=lidar,
            scales=scales,
        )

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> TrainBatch:
        """A batch of one rig. Raises CacheCorruptError where stored bytes are damaged."""
        return self.seen(index)

    def seen(self, index: int, window: Window | None = None, colour: Colour | None = None) -> TrainBatch:
        """The rig with its images and LiDAR through a window, and its images in other colours, where given.

        Raises CacheCorruptError where stored bytes are damaged.
        """
        rig = self.frames[index]
        view = window or WHOLE
        images = resize_images(rig.images, self.image_size, box_px=view.box_px(*rig.images.shape[1:3]), retouch=colour)
        return TrainBatch(
            images=torch.from_numpy(images)[None],
            lidar_depth_m=torch.from_numpy(self._points(rig, view))[None],
            world=torch.from_numpy(resize_mask(rig.ego_mask, self.image_size))[None],
            windows=None if window is None else window.shares()[None],
            targets=self._targets(index),
            rigs=(f"{rig.scene}/{rig.sample}",),
        )

    def _targets(self, index: int) -> EncodedTargets | None:
        if self.targets is None:
            return None
        found = _tensors(self.targets[index])
        return found if self.scales is None else replace(found, scale_shift=torch.from_numpy(self.scales[index])[None])

    def _points(self, rig: CachedRig, window: Window) -> Float32[np.ndarray, "V H W"]:
        if not self.lidar:
            return np.zeros((len(rig.lidar), *self.image_size), np.float32)
        depth_m = np.stack([rasterise(view, self.native_size, self.image_size, window) for view in rig.lidar])
        depth_m[~resize_mask(rig.ego_mask, self.image_size, window)] = 0
        return depth_m


class VisitedRigs(Dataset[TrainBatch]):
    """The rigs of one or several streams by visit, each augmented as the visit's draw says.

    All have so many `views`, of which `pairs` are neighbours. Raises ConfigError on reading a rig that is
    to be mirrored while the ring of cameras is not its own mirror image.
    """

    def __init__(
        self, streams: Sequence[RigDataset], config: AugmentConfig, *, views: int, pairs: Sequence[tuple[int, int]]
    ) -> None:
        self.streams = streams
        self.config = config
        self.views = views
        self.pairs = pairs

    def __getitem__(self, visit: Visit) -> TrainBatch:
        """A batch of one rig. Raises CacheCorruptError where stored bytes are damaged."""
        rigs = self.streams[visit.stream]
        draw = draw_for(visit, self.config, self.views)
        token_grid = None if rigs.targets is None else rigs.targets.spec.token_grid
        return augment_rig(rigs.seen(visit.rig, draw.window, draw.colour), draw, self.pairs, token_grid)


def resize_mask(
    mask: Bool[np.ndarray, "V H W"], size: tuple[int, int], window: Window = WHOLE
) -> Bool[np.ndarray, "V h w"]:
    """What the window shows of a mask, at `size` = (h, w): the value at each pixel's centre."""
    (height, width), (h, w) = mask.shape[1:], size
    rows = (2 * h * window.top + (2 * np.arange(h) + 1) * window.extent) * height // (2 * h * GRAIN)
    columns = (2 * w * window.left + (2 * np.arange(w) + 1) * window.extent) * width // (2 * w * GRAIN)
    return mask[:, rows[:, None], columns]


class Loader:
    """The batches of a stream of rigs; use as a context manager, or close it.

    Its readers stay for the next time that the batches are read.

    `workers` processes read them, or this one where 0; `source` and `tell` are as in `Readers`.
    """

    def __init__(
        self,
        dataset: RigDataset | VisitedRigs,
        stream: Sampler[list[Visit]] | Sampler[list[int]],
        *,
        workers: int,
        pin_memory: bool,
        source: str = "the cache",
        tell: Callable[[str], None] = silently,
    ) -> None:
        self._stream = stream
        self._pinned = pin_memory
        self._ahead = workers > 0
        self._readers: Readers[TrainBatch] = Readers(BatchOf(dataset), workers, source=source, tell=tell)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the readers; with the next batches others start."""
        self._readers.close()

    def batches(self, stopping: Callable[[], bool] = never) -> Iterator[TrainBatch]:
        """The batches of the whole stream, again with every call; no more where none has come and it is time to stop.

        Raises the errors of the cache, and those of `Readers`.
        """
        if not self._pinned:
            yield from self._readers.batches(self._stream, stopping)
        elif not self._ahead:
            yield from map(TrainBatch.pin_memory, self._readers.batches(self._stream, stopping))
        else:
            device = torch.cuda.current_device()
            with Ahead[TrainBatch](partial(torch.cuda.set_device, device)) as ahead:
                read = self._readers.batches(self._stream, lambda: stopping() or ahead.closed)
                yield from ahead.items(map(TrainBatch.pin_memory, read))


class BatchOf:
    """Reads the rigs of a batch one after the other."""

    def __init__(self, dataset: RigDataset | VisitedRigs) -> None:
        self.dataset = dataset

    def __call__(self, rigs: Sequence[Any]) -> TrainBatch:
        """The rigs as one batch."""
        return collate([self.dataset[rig] for rig in rigs])


def _tensors(targets: CachedTargets) -> EncodedTargets:
    encoded = {name: torch.from_numpy(array)[None] for name, array in targets.encoded.items()}
    relation = torch.from_numpy(targets.view_relation)[None]
    feature = None if targets.feature is None else torch.from_numpy(targets.feature)[None]
    whole = torch.ones(next(iter(encoded.values())).shape[:2], dtype=torch.bool)
    return EncodedTargets(encoded, relation, whole, feature)
