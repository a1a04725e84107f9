"""Arithmetic with vectors and colours whose three components come first, (3, …).

That way round, a sum over the components or a choice between two vectors is a few runs along memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products (…) of vectors (3, …)."""
    return (a * b).sum(dim=0)


def length_of(vectors: Tensor) -> Tensor:
    """Lengths (…) of vectors (3, …)."""
    return vectors.square().sum(dim=0).sqrt()


def rotated(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Matrices (3, 3, …) times vectors (3, …), broadcast together."""
    x, y, z = vectors.unbind()
    return matrix[:, 0] * x + matrix[:, 1] * y + matrix[:, 2] * z


def picked(table: Tensor, index: Tensor) -> Tensor:
    """The entries (…, N) of a table (…, P) at indices (N,), the fastest way."""
    return table.contiguous().index_select(-1, index)


def constant(rgb: Sequence[float], like: Tensor) -> Tensor:
    """A colour or vector for tensors (3, …) of two dimensions or more, such as `like`."""
    return like.new_tensor(rgb).reshape(3, *[1] * (like.dim() - 1))
