"""Sums over all processes that train together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import all_reduce, is_available, is_initialized

_alone = False


def together() -> bool:
    """Whether several processes train together, or could: a group of them has been formed."""
    return is_available() and is_initialized() and not _alone


@contextmanager
def by_itself() -> Iterator[None]:
    """While this process computes something that the others do not, so that `masked_mean` must not wait for them."""
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def sum_over_processes(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sum of every process's `x`, the same in all of them; differentiable.

    What is computed from it in every process is one thing computed n times, so the gradient that arrives is summed
    over the processes too. The average that DDP then takes of the weights' gradients is that of the one thing.
    """
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    # Not torch.distributed.nn.functional.all_reduce, which is deprecated.
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        all_reduce(total)
        return total
