"""Deterministic noise: hashes of integers, and smooth noise between them. Same numbers on every device."""

from __future__ import annotations

import torch
from torch import Tensor

_START = 0x9E3779B9 - 2**32


def hashed(first: Tensor, *others: Tensor | int) -> Tensor:
    """A number in [0, 1) for each combination of integers (broadcast together), float32.

    Only the lower 32 bits of the integers count.
    """
    state = _mixed(first.to(torch.int32) ^ _START)
    for key in others:
        state = _mixed(state ^ _word(key))
    return (state & 0xFFFFFF).to(torch.float32) / 2**24


def smooth(x: Tensor, y: Tensor, seed: Tensor | int) -> Tensor:
    """Value noise in [0, 1] with one cell per unit."""
    column, row = torch.floor(x), torch.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = column.to(torch.int32), row.to(torch.int32)
    corners = hashed(torch.stack([i, i + 1]), torch.stack([j, j + 1])[:, None], seed)  # (2 rows, 2 columns, …)
    low, high = torch.lerp(corners[:, 0], corners[:, 1], fx)
    return torch.lerp(low, high, fy)


def cells(x: Tensor, y: Tensor, seed: Tensor | int) -> Tensor:
    """A number in [0, 1) for the unit cell that (x, y) lies in."""
    return hashed(torch.floor(x).to(torch.int32), torch.floor(y).to(torch.int32), seed)


def _mixed(state: Tensor) -> Tensor:
    """32-bit words, scrambled in place: products wrap around, and masks clear what shifts drag in from the sign."""
    state.mul_(0x2C1B3C6D)
    state.bitwise_xor_((state >> 15).bitwise_and_(0x1FFFF)).mul_(0x297A2D39)
    return state.bitwise_xor_((state >> 13).bitwise_and_(0x7FFFF))


def _word(key: Tensor | int) -> Tensor | int:
    if isinstance(key, Tensor):
        return key.to(torch.int32)
    return (key + 2**31) % 2**32 - 2**31
