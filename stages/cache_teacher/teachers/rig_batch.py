"""A rig's images as batches of equal size, and what was found for each put back in the rig's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate


def equally_sized(images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[list[int]]:
    """Positions of the images, grouped by size; one group where all are equal."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(images):
        groups.setdefault(image.shape, []).append(position)
    return list(groups.values())


def in_order(groups: Sequence[Sequence[int]], maps: Sequence[Float[Tensor, "_ C _ _"]]) -> Float[Tensor, "V C h w"]:
    """Put the groups' maps back into the order of the rig, resized bilinearly to the largest height and width."""
    if len(groups) == 1:
        return maps[0]
    size_hw = max(part.shape[-2] for part in maps), max(part.shape[-1] for part in maps)
    resized = torch.cat([interpolate(part, size_hw, mode="bilinear", align_corners=False) for part in maps])
    positions = torch.tensor([position for group in groups for position in group])
    return resized[positions.argsort().to(resized.device)]
