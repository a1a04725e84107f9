"""The rig as a mirror shows it: every view flipped, left and right views swapped, and all that is known with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from cache_schema.errors import ConfigError
from stages.train.batch import EncodedTargets, TrainBatch

Pairs = Sequence[tuple[int, int]]


def mirrored_views(views: int) -> list[int]:
    """Which view of a ring takes each one's place: the first, in front, stays, and the others come in reverse."""
    return [-view % views for view in range(views)]


def mirrored_pairs(pairs: Pairs, views: int) -> list[int]:
    """Which pair takes each one's place, with its views exchanged: (i, j) comes from the mirrored (j, i).

    Raises ConfigError where there is none: then the ring of cameras is not its own mirror image.
    """
    source = mirrored_views(views)
    turned = [(source[j], source[i]) for i, j in pairs]
    missing = [pair for pair, other in zip(pairs, turned, strict=True) if other not in pairs]
    if missing:
        raise ConfigError(
            f"augment.mirror needs a ring of cameras that is its own mirror image; of these {views}, the neighbours"
            f" {', '.join(f'{i}–{j}' for i, j in missing)} have none on the other side; set augment.mirror=0"
        )
    return [pairs.index(pair) for pair in turned]


def mirror_rig(batch: TrainBatch, pairs: Pairs, token_grid: tuple[int, int] | None) -> TrainBatch:
    """The mirrored rigs. Twice is the identity; `token_grid` is that of the view relations, if there are targets.

    Raises ConfigError where the ring of cameras is not its own mirror image.
    """
    sources, views = mirrored_pairs(pairs, batch.images.shape[1]), mirrored_views(batch.images.shape[1])
    targets = batch.targets
    if targets is not None:
        assert token_grid is not None
        targets = EncodedTargets(
            encoded={name: _mirrored(tensor) for name, tensor in targets.encoded.items()},
            view_relation=mirror_relation(targets.view_relation[:, sources], token_grid),
            whole=targets.whole[:, views],
            feature=None if targets.feature is None else mirror_tokens(targets.feature, token_grid),
            scale_shift=None if targets.scale_shift is None else targets.scale_shift[:, views],
        )
    windows = batch.windows
    if windows is not None:
        top, left, extent = windows.unbind(dim=1)
        windows = torch.stack([top, 1 - left - extent, extent], dim=1)
    return TrainBatch(
        images=_mirrored(batch.images, width_axis=3),
        lidar_depth_m=_mirrored(batch.lidar_depth_m),
        world=_mirrored(batch.world),
        windows=windows,
        targets=targets,
        rigs=batch.rigs,
    )


def mirror_relation(relation: Float[Tensor, "B P T T"], token_grid: tuple[int, int]) -> Float[Tensor, "B P T T"]:
    """R_ij of the mirrored views from R_ji of the views: columns of tokens flipped, rows and columns exchanged."""
    rows, columns = token_grid
    token = torch.arange(rows * columns).reshape(rows, columns).flip(1).flatten()
    return relation[:, :, token][:, :, :, token].transpose(-1, -2)


def mirror_tokens(tokens: Float[Tensor, "B V T C"], token_grid: tuple[int, int]) -> Float[Tensor, "B V T C"]:
    """Tokens of the mirrored views: columns of tokens flipped."""
    by_place = tokens.reshape(*tokens.shape[:2], *token_grid, tokens.shape[-1])
    return _mirrored(by_place, width_axis=3).flatten(2, 3)


def _mirrored(x: Shaped[Tensor, "B V *map"], width_axis: int = -1) -> Shaped[Tensor, "B V *map"]:
    if x.dtype == torch.uint16:  # torch flips int16, but not uint16
        return _mirrored(x.view(torch.int16), width_axis).view(torch.uint16)
    return x.index_select(1, torch.tensor(mirrored_views(x.shape[1]))).flip(width_axis)
