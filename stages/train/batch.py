"""What travels from the cache to the losses: B rigs, still as compact as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float16, Float32, Shaped, UInt8
from torch import Tensor


@dataclass(frozen=True)
class EncodedTargets:
    """A teacher's soft targets of B rigs, encoded as in the cache; `soft_targets.expand` decodes them."""

    encoded: dict[str, Shaped[Tensor, "B ..."]]
    view_relation: Float16[Tensor, "B P T T"]
    whole: Bool[Tensor, "B V"]
    """Views that the student sees as the teacher did: tokens of the others are of something else."""
    feature: Float16[Tensor, "B V T C"] | None = None
    """The teacher's tokens, where a loss needs them."""
    scale_shift: Float32[Tensor, "B V 2"] | None = None
    """What makes the expected u metric, 1/z = scale · u + shift in 1/m, where a loss needs it; 0, 0: not known."""


@dataclass(frozen=True)
class TrainBatch:
    """B rigs. `lidar_depth_m` is 0 where there is no point; `world` is False on the own car, and in blanked views.

    Where rigs are cropped, images and LiDAR show the `windows` (top, left and extent as shares of the image), the same
    for all views; `world` and the targets are of whole views. `rigs` names each rig as scene/sample.
    """

    images: UInt8[Tensor, "B V H W 3"]
    lidar_depth_m: Float32[Tensor, "B V H W"]
    world: Bool[Tensor, "B V H W"]
    windows: Float32[Tensor, "B 3"] | None
    targets: EncodedTargets | None
    rigs: tuple[str, ...]

    def to(self, device: torch.device) -> TrainBatch:
        """The batch on a device; does not wait for a copy from pinned memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def only(self, rig: int) -> TrainBatch:
        """One of the rigs, by its place."""
        return replace(self._each(lambda tensor: tensor[rig : rig + 1]), rigs=self.rigs[rig : rig + 1])

    def pin_memory(self) -> TrainBatch:
        """The batch in page-locked memory; the DataLoader calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> TrainBatch:
        targets = self.targets
        if targets is not None:
            encoded = {name: change(tensor) for name, tensor in targets.encoded.items()}
            feature = None if targets.feature is None else change(targets.feature)
            scale = None if targets.scale_shift is None else change(targets.scale_shift)
            targets = EncodedTargets(encoded, change(targets.view_relation), change(targets.whole), feature, scale)
        return TrainBatch(
            images=change(self.images),
            lidar_depth_m=change(self.lidar_depth_m),
            world=change(self.world),
            windows=None if self.windows is None else change(self.windows),
            targets=targets,
            rigs=self.rigs,
        )


def collate(batches: Sequence[TrainBatch]) -> TrainBatch:
    """Join batches into one."""
    return TrainBatch(
        images=torch.cat([batch.images for batch in batches]),
        lidar_depth_m=torch.cat([batch.lidar_depth_m for batch in batches]),
        world=torch.cat([batch.world for batch in batches]),
        windows=_join_known(batch.windows for batch in batches),
        targets=_join_targets([batch.targets for batch in batches if batch.targets is not None]),
        rigs=tuple(rig for batch in batches for rig in batch.rigs),
    )


def _join_targets(targets: Sequence[EncodedTargets]) -> EncodedTargets | None:
    if not targets:
        return None
    names = targets[0].encoded
    return EncodedTargets(
        encoded={name: torch.cat([target.encoded[name] for target in targets]) for name in names},
        view_relation=torch.cat([target.view_relation for target in targets]),
        whole=torch.cat([target.whole for target in targets]),
        feature=_join_known(target.feature for target in targets),
        scale_shift=_join_known(target.scale_shift for target in targets),
    )


def _join_known(parts: Iterable[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None
