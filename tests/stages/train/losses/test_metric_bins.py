"""The teacher's bins in metres: moved to the student's centres, and what the KL then teaches."""

from __future__ import annotations

import torch

from cache_schema import BinSpec
from cache_schema.soft_targets import bin_positions
from stages.train.losses import moved_bins
from stages.train.student.bins import expected_depth
from stages.train.targets import metric_centres

BINS = BinSpec(count=64)


def drawn(bins: int) -> torch.Tensor:
    return torch.randn(2, 3, bins, 4, 5).softmax(dim=2)


def spread_evenly(far_m: float, near_m: float, count: int) -> torch.Tensor:
    """Centres of 2 rigs of 3 views on log depth."""
    return torch.logspace(0, 1, count, base=near_m / far_m).expand(2, 3, count) * far_m


def log_depth(probability: torch.Tensor, centres_m: torch.Tensor) -> torch.Tensor:
    return expected_depth(probability, centres_m, "log_depth").log()


def test_moved_probabilities_say_the_same_of_the_depth() -> None:
    probability, from_m = drawn(12), spread_evenly(60, 3, 12) * (0.8 + 0.4 * torch.rand(2, 3, 1))
    to_m = spread_evenly(90, 1.5, 40)
    moved = moved_bins(probability, from_m, to_m)
    assert moved.shape == (2, 3, 40, 4, 5)
    assert (moved >= 0).all()
    torch.testing.assert_close(moved.sum(dim=2), torch.ones(2, 3, 4, 5))
    torch.testing.assert_close(log_depth(moved, to_m), log_depth(probability, from_m), atol=1e-4, rtol=1e-4)


def test_onto_the_same_centres_nothing_moves() -> None:
    probability, centres_m = drawn(16), spread_evenly(80, 2, 16)
    torch.testing.assert_close(moved_bins(probability, centres_m, centres_m), probability, atol=1e-4, rtol=1e-4)


def test_what_lies_beyond_the_last_centres_goes_to_these() -> None:
    probability = drawn(3)
    moved = moved_bins(probability, torch.tensor([500.0, 10, 0.1]).expand(2, 3, 3), spread_evenly(80, 2, 5))
    torch.testing.assert_close(moved[:, :, 0], probability[:, :, 0])
    torch.testing.assert_close(moved[:, :, -1], probability[:, :, -1])
    torch.testing.assert_close(moved[:, :, 1:-1].sum(dim=2), probability[:, :, 1])


def test_centres_of_a_view_are_its_depths_at_the_bins_positions() -> None:
    centres_m = metric_centres(torch.tensor([[[0.4, 0.02], [0.0, 0.0]]]), BINS, (1.0, 40.0))
    u = torch.from_numpy(bin_positions(BINS)).float()
    torch.testing.assert_close(centres_m[0, 0], (1 / (0.4 * u + 0.02)).clamp(1, 40))
    assert (centres_m[0, 1] == 40).all(), "of a view that the teacher knows nothing of, which no loss asks about"
