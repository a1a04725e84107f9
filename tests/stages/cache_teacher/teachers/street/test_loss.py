"""The loss asks for shape, not for scale and shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.cache_teacher.teachers.street.loss import FARTHEST_M, fit_affine, street_loss
from stages.evaluate.alignment import fit_disparity


def scene(seed: int = 0) -> torch.Tensor:
    """Depths with sky above and the own car below."""
    depth_m = 3 + 60 * torch.rand(2, 32, 48, generator=torch.Generator().manual_seed(seed))
    depth_m[:, :6], depth_m[:, -3:] = torch.inf, torch.nan
    return depth_m


def noisy(depth_m: torch.Tensor) -> torch.Tensor:
    disparity = torch.where(torch.isfinite(depth_m), 1 / depth_m, 0)
    return disparity + 0.02 * torch.rand(depth_m.shape, generator=torch.Generator().manual_seed(1))


def test_the_truth_costs_nothing():
    depth_m = scene()
    disparity = torch.where(torch.isfinite(depth_m), 1 / depth_m, 0)

    terms = street_loss(disparity, depth_m)

    for name in ("total", "log_error", "gradient", "sky", "correlation"):
        assert getattr(terms, name).item() == pytest.approx(0, abs=1e-4), name


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(0.05, 50), shift=st.floats(-3, 3))
def test_scale_and_shift_do_not_matter(scale, shift):
    depth_m = scene()
    disparity = noisy(depth_m)

    plain, changed = street_loss(disparity, depth_m), street_loss(scale * (disparity + shift), depth_m)

    assert changed.total.item() == pytest.approx(plain.total.item(), rel=0.01)


def test_worse_costs_more_and_upside_down_most():
    depth_m = scene()
    disparity = noisy(depth_m)

    losses = [street_loss(each, depth_m).total.item() for each in (disparity, disparity.sqrt(), -disparity)]

    assert losses == sorted(losses)


def test_an_upside_down_prediction_learns_to_turn_around():
    depth_m = scene()
    factor = torch.tensor(-1.0, requires_grad=True)
    offset = noisy(depth_m).mean()

    street_loss(factor * noisy(depth_m) + 0.3 * torch.rand_like(depth_m) * offset, depth_m).total.backward()

    assert factor.grad < 0


def test_what_is_not_known_does_not_count():
    depth_m = scene()
    disparity = noisy(depth_m)
    other = torch.where(torch.isnan(depth_m), 7.0, disparity)

    assert street_loss(other, depth_m).total == street_loss(disparity, depth_m).total


def test_a_near_sky_costs():
    depth_m = scene()
    disparity = torch.where(torch.isfinite(depth_m), 1 / depth_m, 0)
    near = torch.where(torch.isposinf(depth_m), 0.2, disparity)
    far = torch.where(torch.isposinf(depth_m), 0.9 / FARTHEST_M, disparity)

    assert street_loss(near, depth_m).sky > 1
    assert street_loss(far, depth_m).sky.item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_an_image_without_any_depth_costs_nothing_and_harms_nothing(value):
    disparity = torch.rand(2, 32, 48, requires_grad=True)
    depth_m = scene()
    depth_m[1] = value

    street_loss(disparity, depth_m).total.backward()

    assert torch.isfinite(disparity.grad).all()


def test_the_fit_without_weights_is_that_of_the_evaluation():
    random = np.random.default_rng(0)
    u, truth_m = random.random(500), random.uniform(2, 80, 500)

    a, b, _ = fit_affine(*(torch.from_numpy(x)[None] for x in (u, 1 / truth_m, np.ones(500))))

    assert (a.item(), b.item()) == pytest.approx(fit_disparity(u, truth_m))
