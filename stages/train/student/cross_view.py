"""The cross-view block: each view looks at its two neighbours in the ring."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from stages.train.student.layers import zero_linear
from stages.view_relation import pool_tokens


class CrossView(nn.Module):
    """Attention from every cell of a view to tokens pooled from the views before and after it in the ring.

    The last projection starts at zero, so an untrained block changes nothing. A lone view sees itself.
    """

    def __init__(self, channels: int, heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.grid = grid
        self.normalise_view = nn.LayerNorm(channels)
        self.normalise_tokens = nn.LayerNorm(channels)
        # Pooled features do not say which neighbour, and where in it, they come from.
        self.place = nn.Parameter(torch.randn(2, grid[0] * grid[1], channels) * 0.02)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project = zero_linear(channels, channels)

    def forward(self, features: Float[Tensor, "B V D h w"]) -> Float[Tensor, "B V D h w"]:
        """The features, with what the neighbours add."""
        tokens = self._neighbours(features)  # B, V, 2T, D
        view = self.normalise_view(features.flatten(3).transpose(2, 3))  # B, V, h·w, D
        attended = scaled_dot_product_attention(
            self._split(self.query(view)), self._split(self.key(tokens)), self._split(self.value(tokens))
        )  # B, V, heads, h·w, D/heads
        added: Tensor = self.project(attended.transpose(2, 3).flatten(3))  # B, V, h·w, D
        return features + added.transpose(2, 3).reshape(features.shape)

    def _neighbours(self, features: Float[Tensor, "B V D h w"]) -> Float[Tensor, "B V n D"]:
        tokens = self.normalise_tokens(pool_tokens(features, self.grid))
        before, after = tokens.roll(1, dims=1), tokens.roll(-1, dims=1)
        return torch.cat([before + self.place[0], after + self.place[1]], dim=2)

    def _split(self, x: Float[Tensor, "B V n D"]) -> Float[Tensor, "B V heads n d"]:
        B, V, n, D = x.shape
        return x.reshape(B, V, n, self.heads, D // self.heads).transpose(2, 3)
