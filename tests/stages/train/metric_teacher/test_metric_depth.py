"""What a metric teacher says teaches the student: its labels, the loss they enter, and a run that keeps it all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cache_schema import BinSpec, Cache
from cache_schema.errors import CacheMissingError, ConfigError, TrainingError
from cache_schema.soft_targets import certain_spread, normal_bins
from stages.train.config import LoaderConfig, MetricTeacherConfig, TrainConfig, UnlabelledConfig
from stages.train.execute import first_state, open_loader
from stages.train.losses import joint_silog, silog
from stages.train.metric_teacher.kept import FOLDER, SCALES, keep_metric_teacher, load_scales
from stages.train.plan import plan
from stages.train.targets import metric_labels
from tests.stages.train.small import EVERY_AUGMENTATION, LIDAR_ONLY, small_config
from tests.stages.train.test_execute import Watcher, train, weights
from tests.tiny_cache import write_tiny_cache

SCALE = (1.0, 0.5, 2.0, 3.0)
QUICK = MetricTeacherConfig(steps=60, ground=False, d_max_m=100)
BINS = BinSpec(count=64)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "zarr"
    return write_tiny_cache(path, rigs=6, lidar_of=("train",), scale=SCALE, test_time_views=2, bins=BinSpec(count=16))


def settings(**changes: object) -> TrainConfig:
    losses = LIDAR_ONLY.model_copy(update={"metric_depth": 1.0})
    further = UnlabelledConfig(split="val", batch_rigs=2)
    loader = LoaderConfig(workers=0, batch_rigs=2)
    usual = {"losses": losses, "metric_teacher": QUICK, "unlabelled": further, "loader": loader}
    return small_config(**usual | changes)


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_all_cells_count_so_many_times_as_much_as_all_points(weight: float) -> None:
    """As if each cell were that many points."""
    depth_m, truth_m = torch.rand(2, 1, 2, 8, 12) * 50 + 2
    coarse_m, label_m = torch.rand(2, 1, 2, 2, 3) * 50 + 2
    points, cells = torch.rand(1, 2, 8, 12) > 0.4, torch.rand(1, 2, 2, 3) > 0.4
    error = torch.cat([(depth_m / truth_m)[points].log(), (coarse_m / label_m)[cells].log()]).double()
    each = [torch.full((int(mask.sum()),), 1 / int(mask.sum())) for mask in (points, cells)]
    share = torch.cat([each[0], weight * each[1]])
    share = (share / share.sum()).double()
    mean = (share * error).sum()
    expected = ((share * error.square()).sum() - 0.85 * mean.square()).sqrt()
    found = joint_silog(depth_m, truth_m, points, coarse_m, label_m, cells, weight)
    assert found.item() == pytest.approx(expected.item(), abs=2e-3)


def test_with_points_alone_or_cells_alone_it_is_their_silog() -> None:
    depth_m, truth_m = torch.rand(2, 1, 2, 8, 12) * 50 + 2
    coarse_m, label_m = torch.rand(2, 1, 2, 2, 3) * 50 + 2
    points, cells = torch.ones(1, 2, 8, 12, dtype=torch.bool), torch.ones(1, 2, 2, 3, dtype=torch.bool)
    inputs = (depth_m, truth_m, points, coarse_m, label_m, cells, 2.0)
    no_points, no_cells = list(inputs), list(inputs)
    no_points[2], no_cells[5] = ~points, ~cells
    torch.testing.assert_close(joint_silog(*no_points), silog(coarse_m, label_m, cells))
    torch.testing.assert_close(joint_silog(*no_cells), silog(depth_m, truth_m, points))


def labels(u: torch.Tensor, spread: float, scale_shift: tuple[float, float]) -> torch.Tensor:
    """Labels of one view whose targets are so many times as wide as a certain one."""
    probability = normal_bins(u, spread * certain_spread(u, BINS), BINS)[None, None]
    of_view = torch.tensor(scale_shift)[None, None]
    everywhere = torch.ones(1, 1, *u.shape, dtype=torch.bool)
    return metric_labels(probability, of_view, everywhere, BINS, (1.0, 100.0))[0, 0]


def test_labels_are_the_harmonic_mean_of_metric_centres_within_the_limits() -> None:
    u = torch.linspace(0.15, 0.9, 12).reshape(3, 4)
    torch.testing.assert_close(labels(u, 1.0, (0.4, 0.01)), 1 / (0.4 * u + 0.01), rtol=0.02, atol=0)
    assert not labels(u, 1.0, (0.0, 0.0)).any(), "of a view that the teacher knows nothing of"
    near = labels(u, 1.0, (2.0, 0.0))
    assert torch.equal(near > 0, (2 * u < 1)), "nothing nearer than a metre"


def test_where_the_teacher_is_in_doubt_it_gives_no_label() -> None:
    u = torch.full((2, 2), 0.5)
    assert (labels(u, 1.0, (0.2, 0.0)) > 0).all()
    assert not labels(u, 8.0, (0.2, 0.0)).any()


def test_a_run_keeps_its_metric_teacher_and_reads_the_scales_with_the_rigs(scaled: Path, tmp_path: Path) -> None:
    config, run = settings(), tmp_path / "run"
    watcher = Watcher()
    train(config, scaled, run, watcher)
    assert any("AbsRel" in note and "one scale for all views" in note for note in watcher.notes)
    labelled, further = load_scales(run, 2)
    assert labelled.shape == further.shape == (6, 4, 2)
    made = plan(config, scaled, run)
    assert any("metric   its scale is fitted first to the LiDAR of split train" in line for line in made.describe())
    batch = next(open_loader(made, first_state(made.config), torch.device("cpu")).batches())
    assert batch.targets is not None
    assert batch.targets.scale_shift is not None
    numbers = [int(name[-8]) * 3 + int(name[-1]) for name in batch.rigs]  # as `sample_name` counts them
    stored = [(labelled if i < 2 else further)[rig] for i, rig in enumerate(numbers)]
    torch.testing.assert_close(batch.targets.scale_shift, torch.stack([torch.from_numpy(each) for each in stored]))


def test_bins_that_are_compared_in_metres_need_no_other_loss_of_the_metric_teacher(
    scaled: Path, tmp_path: Path
) -> None:
    losses = LIDAR_ONLY.model_copy(update={"ckd": 10, "cross": 0, "kl_bins": "metric"})
    config = settings(losses=losses, steps=30)
    assert any(
        "; its bins are compared in metres, weight 10" in line for line in plan(config, scaled, tmp_path).describe()
    )
    watcher = Watcher()
    train(config, scaled, tmp_path / "metric", watcher)
    assert load_scales(tmp_path / "metric", 2)[0].any()
    kl = [values["kl"] for values in watcher.seen if "kl" in values]
    assert sum(kl[-5:]) < 0.9 * sum(kl[:5])
    other = config.model_copy(update={"losses": losses.model_copy(update={"kl_bins": "normalised"})})
    train(other, scaled, tmp_path / "normalised")
    assert not (tmp_path / "normalised" / FOLDER).exists()


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(3, id="fitting", marks=pytest.mark.slow),
        pytest.param(6 + 5, id="telling scales"),
        pytest.param(6 + 12 + 5, id="training"),
    ],
)
def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(
    scaled: Path, tmp_path: Path, after: int, one_thread: None
) -> None:
    config = settings(steps=8, checkpoint_every=3, augment=EVERY_AUGMENTATION)
    train(config, scaled, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, scaled, tmp_path / "cut", Watcher(stop_after=after))
    train(config, scaled, tmp_path / "cut")
    assert (tmp_path / "cut" / FOLDER / SCALES).read_bytes() == (tmp_path / "whole" / FOLDER / SCALES).read_bytes()
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "cut")[name]), name


def test_it_changes_what_is_learned(scaled: Path, tmp_path: Path, one_thread: None) -> None:
    train(settings(), scaled, tmp_path / "with")
    train(small_config(losses=LIDAR_ONLY, loader=LoaderConfig(workers=0, batch_rigs=2)), scaled, tmp_path / "without")
    one, other = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_scales_that_are_damaged_are_named_and_told_once_more(scaled: Path, tmp_path: Path) -> None:
    train(settings(), scaled, tmp_path / "run")
    file = tmp_path / "run" / FOLDER / SCALES
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(TrainingError, match="does not hold the scales of this run's rigs: "):
        load_scales(tmp_path / "run", 2)
    file.unlink()
    splits = [(Cache(scaled), "train"), (Cache(scaled), "val")]
    keep_metric_teacher(tmp_path / "run", splits, "tiny", QUICK, Watcher())
    assert file.read_bytes() == whole


def test_a_cache_without_raw_scales_is_refused_before_any_work(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheMissingError, match="--overwrite"):
        plan(settings(unlabelled=None), cache, tmp_path / "run")
    uniform = BinSpec(count=16, spacing="uniform")
    ranks = write_tiny_cache(tmp_path / "ranks", test_time_views=2, normalisation="rank", bins=uniform)
    with pytest.raises(ConfigError, match="rank"):
        plan(settings(unlabelled=None), ranks, tmp_path / "run")


def test_a_scale_told_from_the_shape_alone_needs_no_raw_scale(cache: Path, tmp_path: Path) -> None:
    shape_alone = QUICK.model_copy(update={"raw_scale": False})
    made = plan(settings(unlabelled=None, metric_teacher=shape_alone), cache, tmp_path / "run")
    assert made.data.teacher is not None
