from pathlib import Path

import numpy as np
import pytest
import torch

from cache_schema import BinSpec, Cache
from cache_schema.soft_targets import (
    Moments,
    Probabilities,
    certain_spread,
    decode_moments,
    encode,
    expand,
    normal_bins,
)
from stages.train.batch import EncodedTargets, collate
from stages.train.config import LossConfig
from stages.train.execute import first_state, open_loader
from stages.train.loader import RigDataset
from stages.train.plan import plan
from stages.train.targets import cells_with, certainty, is_sky, resample, teacher_targets, usable_points
from tests.stages.train.small import STUDENT, small_config
from tests.tiny_cache import NATIVE, PAIRS, feature_of, teacher_record, write_tiny_cache


def batch(cache: Path):
    opened = Cache(cache)
    dataset = RigDataset(
        opened.split("train"), opened.targets("train", "tiny"), native_size=NATIVE, image_size=(64, 96)
    )
    return collate([dataset[0], dataset[1]]), opened.manifest.teachers["tiny"].targets


@pytest.mark.parametrize("grid", [(16, 24), (8, 12), (32, 48)])
def test_targets_are_probabilities_on_the_students_grid(cache: Path, grid):
    rigs, spec = batch(cache)
    targets = teacher_targets(rigs.targets, rigs.world, spec=spec, pairs=PAIRS, grid=grid, sky_u=0.02)
    assert targets.probability.shape == (2, 4, 16, *grid)
    torch.testing.assert_close(targets.probability.sum(dim=2), torch.ones(2, 4, *grid))
    assert targets.mask.shape == (2, 4, *grid)
    assert targets.disparity.shape == (2, 4, *grid)
    assert targets.view_relation.shape == (2, 4, 6, 6)


def test_features_are_read_where_a_loss_needs_them(tmp_path: Path):
    path = write_tiny_cache(tmp_path / "zarr", splits=("train",), feature_channels=5)
    for needed in (True, False):
        settings = small_config(losses=LossConfig(features=float(needed)))
        made = plan(settings, path, tmp_path / "run")
        first = next(open_loader(made, first_state(made.config), torch.device("cpu")).batches())
        rigs, spec = first.to(torch.device("cpu")), made.data.teacher.targets
        targets = teacher_targets(rigs.targets, rigs.world, spec=spec, pairs=PAIRS, grid=(16, 24), sky_u=None)
        if needed:
            which = [int(name[-8]) * 3 + int(name[-1]) for name in rigs.rigs]  # as `sample_name` counts them
            stored = np.stack([feature_of(rig, spec) for rig in which]).astype(np.float32)
            np.testing.assert_array_equal(targets.features, stored)
        else:
            assert targets.features is None


def test_the_disparity_is_the_expected_position_of_the_probabilities(cache: Path):
    rigs, spec = batch(cache)
    targets = teacher_targets(rigs.targets, rigs.world, spec=spec, pairs=PAIRS, grid=(16, 24), sky_u=None)
    mean, _ = decode_moments(rigs.targets.encoded, spec.bins)
    inside = (mean > 0.2) & (mean < 0.8)
    assert inside.any()
    torch.testing.assert_close(targets.disparity[inside], mean[inside], atol=0.01, rtol=0)


def test_the_sky_and_the_own_car_stay_out_of_the_kl(cache: Path):
    rigs, spec = batch(cache)
    options = {"spec": spec, "pairs": PAIRS, "grid": (16, 24)}
    everything = teacher_targets(rigs.targets, torch.ones_like(rigs.world), sky_u=None, **options)
    no_sky = teacher_targets(rigs.targets, torch.ones_like(rigs.world), sky_u=0.1, **options)
    no_car = teacher_targets(rigs.targets, rigs.world, sky_u=None, **options)
    mean, _ = decode_moments(rigs.targets.encoded, spec.bins)
    assert everything.mask.all()
    assert torch.equal(no_sky.mask, mean > 0.1)
    assert (~no_car.mask).any(dim=(2, 3)).tolist() == [[False, True, False, False]] * 2


def test_a_cell_with_any_own_car_in_it_is_not_world():
    world = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    world[..., 5, 2] = False
    assert cells_with(~world, (2, 2)).tolist() == [[[[False, False], [True, False]]]]


def test_doubt_does_not_move_the_sky():
    spec = teacher_record((8, 8), bins=BinSpec(count=64, spacing="uniform")).targets
    mean = np.array([0.0, 0.01, 0.03, 0.5]).reshape(1, 1, 1, 4)
    for spread in (0.02, 0.2):
        encoded = {name: torch.from_numpy(a) for name, a in encode(Moments(mean, mean * 0 + spread), spec).items()}
        targets = EncodedTargets(encoded, torch.zeros(1, 4, 6, 6, dtype=torch.float16), torch.ones(1, 4) > 0)
        sky = is_sky(targets, expand(encoded, spec), spec, 0.02)
        assert sky.flatten().tolist() == [True, True, False, False]


@pytest.mark.parametrize("encoding", ["topk", "dense"])
def test_the_sky_of_a_bin_head_is_where_the_farthest_bins_lead(encoding: str):
    spec = teacher_record((8, 8), bins=BinSpec(count=64, spacing="uniform"), encoding=encoding).targets
    dense = np.full((1, 1, 64, 1, 3), 0.01)
    dense[0, 0, [0, 1, 40], 0, [0, 1, 2]] = 1
    encoded = encode(Probabilities(dense / dense.sum(axis=2, keepdims=True)), spec)
    tensors = {name: torch.from_numpy(array) for name, array in encoded.items()}
    targets = EncodedTargets(tensors, torch.zeros(1, 4, 6, 6, dtype=torch.float16), torch.ones(1, 4) > 0)
    assert is_sky(targets, expand(tensors, spec), spec, 0.02).flatten().tolist() == [True, False, False]


def test_resampling_to_the_same_grid_changes_nothing():
    probability = torch.rand(1, 2, 4, 6, 8)
    assert resample(probability, (6, 8)) is probability


def test_resampling_by_half_averages_cells():
    probability = torch.rand(1, 2, 4, 6, 8)
    expected = probability[0, 1, 3, 2:4, 4:6].mean()
    torch.testing.assert_close(resample(probability, (3, 4))[0, 1, 3, 1, 2], expected)


def test_only_points_the_student_can_express_are_used():
    depth = torch.tensor([0.0, 0.5, 5.0, 199.0, 250.0]).reshape(1, 1, 1, 5)
    assert usable_points(depth, STUDENT).flatten().tolist() == [False, False, True, True, False]


def test_certainty_is_full_without_doubt_and_falls_with_the_spread(cache: Path):
    for bins in (BinSpec(count=64, spacing="uniform"), BinSpec(count=64, spacing="power")):
        mean = np.full((1, 1, 2, 3), 0.5, np.float32)
        widths = certain_spread(mean, bins) * np.array([[1, 2, 4], [1, 2, 4]], np.float32)
        found = certainty(torch.from_numpy(normal_bins(mean, widths, bins)), bins)
        torch.testing.assert_close(found[0, 0, 0], torch.tensor([1.0, 0.5, 0.25]), rtol=0.12, atol=0)


def test_views_of_which_the_teacher_says_nothing_are_left_out(cache: Path):
    rigs, spec = batch(cache)
    settings = {"spec": spec, "pairs": PAIRS, "grid": (16, 24), "sky_u": None}
    before = teacher_targets(rigs.targets, rigs.world, **settings)
    assert before.says is not None
    assert before.says.all()
    for array in rigs.targets.encoded.values():
        array[1, 2] = 7
    after = teacher_targets(rigs.targets, rigs.world, **settings)
    assert after.says is not None
    assert after.whole is not None
    assert not after.says[1, 2]
    assert not after.whole[1, 2]
    assert not after.mask[1, 2].any()
    torch.testing.assert_close(after.mask[0], before.mask[0])
