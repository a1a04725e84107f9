"""Deterministic noise: hashes of integers, and smooth noise between them. Same numbers on every device."""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def hashed(*keys: Tensor | int) -> Tensor:
    """A number in [0, 1) for each combination of integers (broadcast together), float32."""
    state: Tensor | int = 0x9E3779B9
    for key in keys:
        state = ((state ^ (key & _WORD)) * 0x2C1B3C6D) & _WORD
        state = ((state ^ (state >> 15)) * 0x297A2D39) & _WORD
        state = state ^ (state >> 13)
    if not isinstance(state, Tensor):
        state = torch.tensor(state)
    return (state & 0xFFFFFF).to(torch.float32) / 2**24


def smooth(x: Tensor, y: Tensor, seed: Tensor | int) -> Tensor:
    """Value noise in [0, 1] with one cell per unit."""
    column, row = torch.floor(x), torch.floor(y)
    fx, fy = x - column, y - row
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i, j = column.to(torch.int64), row.to(torch.int64)
    low = torch.lerp(hashed(i, j, seed), hashed(i + 1, j, seed), fx)
    high = torch.lerp(hashed(i, j + 1, seed), hashed(i + 1, j + 1, seed), fx)
    return torch.lerp(low, high, fy)


def cells(x: Tensor, y: Tensor, seed: Tensor | int) -> Tensor:
    """A number in [0, 1) for the unit cell that (x, y) lies in."""
    return hashed(torch.floor(x).to(torch.int64), torch.floor(y).to(torch.int64), seed)
