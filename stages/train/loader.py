"""From the cache to batches on the CPU, in the order of the stream, at any number of worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool
from torch.utils.data import DataLoader, Dataset, Sampler

from cache_schema import CachedTargets, FrameReader, TargetReader
from cache_schema.errors import FsmdeError
from stages.train.batch import EncodedTargets, TrainBatch, collate
from stages.train.images import resize_images
from stages.train.lidar_grid import rasterise
from stages.train.stop import leave_stopping_to_the_trainer


class RigDataset(Dataset[TrainBatch]):
    """One rig of a split per index, at the training size. Cheap to pickle: the readers open files lazily.

    Without `lidar`, as if there were no points.
    """

    def __init__(
        self,
        frames: FrameReader,
        targets: TargetReader | None,
        *,
        native_size: tuple[int, int],
        image_size: tuple[int, int],
        lidar: bool = True,
    ) -> None:
        self.frames = frames
        self.targets = targets
        self.native_size = native_size
        self.image_size = image_size
        self.lidar = lidar

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> TrainBatch:
        """A batch of one rig. Raises CacheCorruptError where stored bytes are damaged."""
        rig = self.frames[index]
        world = resize_mask(rig.ego_mask, self.image_size)
        lidar = np.zeros(world.shape, np.float32)
        if self.lidar:
            lidar = np.stack([rasterise(view, self.native_size, self.image_size) for view in rig.lidar])
            lidar[~world] = 0
        return TrainBatch(
            images=torch.from_numpy(resize_images(rig.images, self.image_size))[None],
            lidar_depth_m=torch.from_numpy(lidar)[None],
            world=torch.from_numpy(world)[None],
            targets=None if self.targets is None else _tensors(self.targets[index]),
            rigs=(f"{rig.scene}/{rig.sample}",),
        )


def resize_mask(mask: Bool[np.ndarray, "V H W"], size: tuple[int, int]) -> Bool[np.ndarray, "V h w"]:
    """A mask at `size` = (h, w): the value at each pixel's centre."""
    (height, width), (h, w) = mask.shape[1:], size
    rows = (2 * np.arange(h) + 1) * height // (2 * h)
    columns = (2 * np.arange(w) + 1) * width // (2 * w)
    return mask[:, rows[:, None], columns]


def make_loader(
    dataset: Dataset[TrainBatch], stream: Sampler[list[int]], *, workers: int, pin_memory: bool, stay: bool = False
) -> DataLoader[TrainBatch]:
    """The batches of the stream, read by `workers` processes, or in this one where 0.

    They `stay` for the next time that the batches are read.
    """
    return DataLoader(
        dataset,
        batch_sampler=stream,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin_memory,
        # A forked worker inherits threads and locks of zarr and torch in an unknown state and may hang.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=leave_stopping_to_the_trainer,
        persistent_workers=stay and workers > 0,
        # Its own, so that reading draws nothing from the generator that training continues after a resume.
        generator=torch.Generator(),
    )


def read_batches(loader: DataLoader[TrainBatch]) -> Iterator[TrainBatch]:
    """The loader's batches. An error of ours in a worker arrives with its own message, not the worker's traceback."""
    try:
        yield from loader
    except FsmdeError as error:
        message = str(error).rstrip().rpartition(f"{type(error).__name__}: ")[2]
        raise type(error)(message) from error


def _tensors(targets: CachedTargets) -> EncodedTargets:
    encoded = {name: torch.from_numpy(array)[None] for name, array in targets.encoded.items()}
    return EncodedTargets(encoded, torch.from_numpy(targets.view_relation)[None])
