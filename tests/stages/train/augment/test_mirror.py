import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema.errors import ConfigError
from cache_schema.soft_targets import expand
from stages.train.augment import Window
from stages.train.augment.mirror import mirror_relation, mirror_rig, mirror_tokens, mirrored_pairs, mirrored_views
from stages.train.augment.window import GRAIN
from stages.train.targets import teacher_targets
from stages.view_relation import pool_tokens, view_relation
from tests.stages.train.augment.rigs import RINGS, assert_same, random_batch, spec_of

rigs = {
    "seed": st.integers(0, 2**32 - 1),
    "views": st.sampled_from(sorted(RINGS)),
    "size": st.tuples(st.integers(1, 5), st.integers(1, 21)),
    "encoding": st.sampled_from(["moments", "topk", "dense"]),
}


def test_views_change_sides_and_the_one_in_front_stays():
    assert mirrored_views(6) == [0, 5, 4, 3, 2, 1]
    assert mirrored_views(1) == [0]


@settings(deadline=None)
@given(**rigs)
def test_mirrored_codes_expand_to_the_mirrored_probabilities(seed, views, size, encoding):
    spec = spec_of(size, encoding)
    batch = random_batch(seed, views, spec)
    mirrored = mirror_rig(batch, RINGS[views], spec.token_grid)
    order = mirrored_views(views)
    expanded = expand(batch.targets.encoded, spec)[:, order].flip(-1)
    # torch rounds exponentials differently in the last few columns of a row; numpy does not.
    torch.testing.assert_close(expand(mirrored.targets.encoded, spec), expanded, atol=1e-6, rtol=1e-6)
    exact = expand({name: codes.numpy() for name, codes in batch.targets.encoded.items()}, spec)
    found = expand({name: codes.numpy() for name, codes in mirrored.targets.encoded.items()}, spec)
    assert np.array_equal(found, exact[:, order, ..., ::-1])


@settings(deadline=None)
@given(**rigs, left=st.integers(0, GRAIN // 2), extent=st.integers(1, GRAIN // 2))
def test_twice_is_the_identity(seed, views, size, encoding, left, extent):
    spec = spec_of(size, encoding)
    window = Window(top=GRAIN // 3, left=left, extent=extent)
    batch = random_batch(seed, views, spec, window.shares()[None])
    once = mirror_rig(batch, RINGS[views], spec.token_grid)
    assert_same(mirror_rig(once, RINGS[views], spec.token_grid), batch)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    views=st.sampled_from(sorted(RINGS)),
    token_grid=st.tuples(st.integers(1, 3), st.integers(1, 5)),
)
def test_tokens_and_relation_are_those_of_the_mirrored_features(seed, views, token_grid):
    rows, columns = token_grid
    features = torch.randn(1, views, 4, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(seed))
    tokens = pool_tokens(features, token_grid)
    mirrored = pool_tokens(features[:, mirrored_views(views)].flip(-1), token_grid)
    torch.testing.assert_close(mirror_tokens(tokens, token_grid), mirrored)
    relation, sources = view_relation(tokens, RINGS[views]), mirrored_pairs(RINGS[views], views)
    moved = mirror_relation(relation[:, sources], token_grid)
    torch.testing.assert_close(moved, view_relation(mirrored, RINGS[views]))


@pytest.mark.parametrize("grid", [(6, 10), (3, 5), (12, 20), (4, 7)])
@pytest.mark.parametrize("window", [None, Window(top=100, left=900, extent=3000)])
def test_what_the_losses_compare_with_is_mirrored_too(grid, window):
    spec = spec_of((6, 10))
    batch = random_batch(3, 6, spec, None if window is None else window.shares()[None])
    mirrored = mirror_rig(batch, RINGS[6], spec.token_grid)

    def targets(rig):
        options = {"spec": spec, "pairs": RINGS[6], "grid": grid, "sky_u": 0.1, "certain": True}
        return teacher_targets(rig.targets, rig.world, windows=rig.windows, limits_m=(1.0, 200.0), **options)

    plain, other, views = targets(batch), targets(mirrored), mirrored_views(6)
    for name in ("probability", "disparity", "certainty"):
        expected = getattr(plain, name)[:, views].flip(-1)
        torch.testing.assert_close(getattr(other, name), expected, atol=2e-5, rtol=0)
    assert torch.equal(other.mask, plain.mask[:, views].flip(-1))
    torch.testing.assert_close(other.depth_m, plain.depth_m[:, views].flip(-1))
    assert 0 < plain.mask.float().mean() < 1


@pytest.mark.parametrize(
    ("pairs", "views", "missing"),
    [(((0, 1),), 2, "0–1"), (((0, 1), (1, 2)), 3, "0–1"), (((0, 1), (2, 3)), 4, "0–1, 2–3")],
)
def test_a_ring_that_is_not_its_own_mirror_image_is_refused(pairs, views, missing):
    with pytest.raises(ConfigError, match=rf"neighbours {missing} have none.*augment\.mirror=0"):
        mirrored_pairs(pairs, views)


def test_a_rig_without_a_teacher_is_mirrored_as_well():
    spec = spec_of((2, 3))
    batch = random_batch(0, 4, spec)
    with_teacher = mirror_rig(batch, RINGS[4], spec.token_grid)
    without = mirror_rig(type(batch)(**(vars(batch) | {"targets": None})), RINGS[4], None)
    assert without.targets is None
    assert torch.equal(without.images, with_teacher.images)
    assert np.array_equal(without.images[0, 1].numpy(), batch.images[0, 3].numpy()[:, ::-1])
