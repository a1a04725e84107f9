"""The protocol at work: what counts, how it is averaged, how a prediction of unknown scale becomes metric."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cache_schema import CachedRig, DatasetIdentity, LidarView
from stages.evaluate.prediction import Comparison, Prediction, ViewPair, aligned, compare
from stages.evaluate.protocol import Protocol, protocol
from stages.evaluate.regions import region_members
from stages.evaluate.scoring import Scorer
from stages.evaluate.truth import Truth, TruthPoints, dense_truth, lidar_truth
from tests.stages.evaluate.test_metrics import restated

NATIVE = (8, 12)
CAMERAS = ("A", "B")
DATASET = DatasetIdentity(name="ddad", version="1", cameras=CAMERAS, native_size=NATIVE)
NUSCENES = DATASET.model_copy(update={"name": "nuscenes"})
DDAD = protocol("native", DATASET)


def rig(depths: list[np.ndarray]) -> CachedRig:
    """A rig whose views see a point at every pixel, at the given depths (H, W)."""
    v, u = np.meshgrid(np.arange(NATIVE[0]), np.arange(NATIVE[1]), indexing="ij")
    uv = np.stack([u.ravel(), v.ravel()], axis=1).astype(np.uint16)
    views = len(depths)
    return CachedRig(
        scene="s",
        sample="0",
        timestamp=0,
        images=np.zeros((views, *NATIVE, 3), np.uint8),
        lidar=tuple(LidarView(uv, depth.astype(np.float32).ravel()) for depth in depths),
        intrinsics_px=np.tile(np.eye(3, dtype=np.float32), (views, 1, 1)),
        rig_from_camera=np.tile(np.eye(4), (views, 1, 1)),
        world_from_camera=np.tile(np.eye(4), (views, 1, 1)),
        world_from_rig=np.eye(4),
        ego_mask=np.ones((views, *NATIVE), bool),
    )


def metric_pairs(depth_m: np.ndarray, of: CachedRig, by: Protocol = DDAD) -> tuple[ViewPair, ...]:
    """Truth and metric prediction at the LiDAR points that count."""
    return compare(Prediction(depth_m, NATIVE, by.range_m[1]), lidar_truth(of, by, DATASET)).views


def disparity_pairs(u: np.ndarray, of: CachedRig) -> tuple[ViewPair, ...]:
    """The same for a relative disparity."""
    lidar = lidar_truth(of, DDAD, DATASET)
    return compare(aligned(u, "disparity_least_squares", lidar, NATIVE, DDAD.range_m[1]), lidar).views


def truth_of(pairs: tuple[ViewPair, ...], by: Protocol = DDAD) -> Truth:
    """The truth that was compared, its points in the middle of the images, seen by no neighbour."""
    middle = tuple(
        TruthPoints(np.full((len(p.truth_m), 2), NATIVE[0] / 2), p.truth_m.astype(np.float32)) for p in pairs
    )
    regions = region_members([v.xy_px for v in middle], [v.depth_m for v in middle], by, NATIVE)
    return Truth("lidar", middle, (), regions)


def count(scorer: Scorer, *pairs: ViewPair) -> Scorer:
    """Count one rig."""
    scorer.add(Comparison(pairs, ()), truth_of(pairs))
    return scorer


def depth(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(2, 150, NATIVE)


def scores(pairs: list[tuple[ViewPair, ...]], scaling: str = "none") -> dict[str, float | None]:
    scorer = Scorer("student", "metric", CAMERAS, DDAD)
    for rig_pairs in pairs:
        count(scorer, *rig_pairs)
    return next(s for s in scorer.scores() if s.scaling == scaling).mean.metrics


def test_a_perfect_prediction_scores_zero_through_the_whole_path() -> None:
    truth = [depth(0), depth(1)]
    pairs = metric_pairs(np.stack(truth), rig(truth))
    assert scores([pairs])["abs_rel"] == pytest.approx(0, abs=1e-6)


def test_the_mean_is_over_images_then_cameras_not_over_points() -> None:
    ten, one = np.full(10, 10.0), np.full(1, 10.0)
    first = (ViewPair(ten, ten * 2), ViewPair(one, one))
    second = (ViewPair(one, one), ViewPair(one, one))
    assert scores([first, second])["abs_rel"] == pytest.approx((0.5 + 0) / 2)


def test_points_out_of_range_do_not_count_and_predictions_are_clamped() -> None:
    truth = depth()
    truth[0, 0], truth[0, 1] = 250.0, 0.05
    pairs = metric_pairs(np.full((1, *NATIVE), 1e6), rig([truth]))
    assert len(pairs[0].truth_m) == truth.size - 2
    scorer = Scorer("student", "metric", ("A",), DDAD)
    found = count(scorer, ViewPair(np.array([100.0, 50.0]), np.array([1e6, 50.0]))).scores()[0].mean
    assert found.metrics["abs_rel"] == pytest.approx(0.5)
    assert found.clamped == 1


def test_an_image_without_points_is_counted_as_such_and_in_no_mean() -> None:
    scorer = Scorer("student", "metric", CAMERAS, DDAD)
    empty = ViewPair(np.zeros(0), np.zeros(0))
    result = count(scorer, ViewPair(np.array([10.0]), np.array([12.0])), empty).scores()[0]
    assert result.mean.metrics["abs_rel"] == pytest.approx(0.2)
    assert result.mean.images_without_points == 1
    assert result.cameras["B"].metrics["abs_rel"] is None


def test_median_scaling_per_image_and_per_rig() -> None:
    near, far = np.array([10.0, 12.0, 14.0]), np.array([40.0, 44.0, 48.0])
    pairs = (ViewPair(near, near * 2), ViewPair(far, far * 3))
    assert scores([pairs], "median_image")["abs_rel"] == pytest.approx(0)
    per_rig = scores([pairs], "median_rig")["abs_rel"]
    assert per_rig is not None
    assert per_rig > 0.1, "one factor cannot mend two"


def test_least_squares_in_disparity_recovers_scale_and_shift() -> None:
    truth = depth()
    u = 7 / truth - 0.02
    pair = disparity_pairs(u[None], rig([truth]))[0]
    np.testing.assert_allclose(pair.predicted_m, pair.truth_m, rtol=1e-5)


def test_disparity_beyond_infinity_is_the_far_end_of_the_range() -> None:
    truth = np.full(NATIVE, 10.0)
    truth[0] = 199.0
    u = 1 / truth
    u[0, 0] = -5.0
    pair = disparity_pairs(u[None], rig([truth]))[0]
    assert np.isfinite(pair.predicted_m).all()
    assert pair.predicted_m.max() <= 200.0 + 1e-6


def test_a_view_without_lidar_cannot_be_fitted_and_is_in_no_mean() -> None:
    near = rig([depth(0), depth(1)])
    blind = dataclasses.replace(
        near, lidar=(near.lidar[0], LidarView(np.zeros((0, 2), np.uint16), np.zeros(0, np.float32)))
    )
    lidar = lidar_truth(blind, DDAD, DATASET)
    dense = dense_truth(np.stack([depth(0), depth(1)]).astype(np.float32), blind, DDAD, DATASET)
    u = np.stack([1 / depth(0), 1 / depth(1)])
    fitted = aligned(u, "disparity_least_squares", lidar, NATIVE, 200.0)
    assert [len(pair.truth_m) for pair in compare(fitted, dense).views] == [96, 0]


def test_scores_at_dense_depth_are_the_formulas_at_every_pixel_with_depth() -> None:
    truth = np.stack([depth(0), depth(1)]).astype(np.float32)
    truth[0, 0], truth[1, 2, 3] = 0.0, 300.0  # the sky, and something beyond the range
    predicted = (truth + 3).astype(np.float32)
    scorer = Scorer("student", "metric", CAMERAS, DDAD, truth="dense")
    dense = dense_truth(truth, rig([depth(0), depth(1)]), DDAD, DATASET)
    scorer.add(compare(Prediction(predicted, NATIVE, 200.0), dense), dense)
    found = scorer.scores()[0]
    assert found.truth == "dense"
    for camera, g, p in zip(CAMERAS, truth, predicted, strict=True):
        kept = [(float(a), min(float(b), 200.0)) for a, b in zip(g.ravel(), p.ravel(), strict=True) if 0.1 < a < 200]
        expected = restated([a for a, _ in kept], [b for _, b in kept])
        assert found.cameras[camera].points == len(kept)
        assert found.cameras[camera].metrics == pytest.approx(expected, rel=1e-6)


def test_the_own_car_is_left_out_where_the_protocol_says_so() -> None:
    truth = [depth()]
    masked = dataclasses.replace(rig(truth), ego_mask=np.zeros((1, *NATIVE), bool))
    strict = DDAD.model_copy(update={"ego_mask": True})
    assert len(metric_pairs(np.stack(truth), masked, strict)[0].truth_m) == 0
    assert len(metric_pairs(np.stack(truth), masked)[0].truth_m) == truth[0].size


@pytest.mark.parametrize("predicted", [0.0, -3.0, 1e-30])
@pytest.mark.parametrize("by", [DDAD, protocol("network", DATASET)])
def test_a_prediction_of_nothing_or_less_counts_as_the_least_depth(predicted: float, by: Protocol) -> None:
    truth = np.array([10.0, 20.0])
    found = count(Scorer("student", "metric", ("A",), by), ViewPair(truth, np.full(2, predicted))).scores()[0]
    assert found.mean.metrics == pytest.approx(restated([10.0, 20.0], [by.clamp_m[0]] * 2), abs=1e-4)
    assert found.mean.clamped == 2


def test_a_median_that_is_no_depth_scales_nothing() -> None:
    pair = ViewPair(np.array([10.0, 20.0, 30.0]), np.array([-1.0, 0.0, 30.0]))
    scorer = count(Scorer("student", "metric", ("A",), DDAD), pair)
    assert len({score.mean.metrics["abs_rel"] for score in scorer.scores()}) == 1


def test_medians_alone_take_disparity_to_have_no_shift() -> None:
    truth = depth()
    lidar = lidar_truth(rig([truth]), DDAD, DATASET)
    for u, exact in ((7 / truth, True), (7 / truth + 0.1, False)):
        pair = compare(aligned(u[None], "disparity_median", lidar, NATIVE, 200.0), lidar).views[0]
        assert np.median(pair.predicted_m) == pytest.approx(np.median(pair.truth_m), rel=0.02)
        assert np.allclose(pair.predicted_m, pair.truth_m, rtol=0.02) is exact


def test_points_on_the_ends_of_the_range_do_not_count() -> None:
    truth = np.full(NATIVE, 50.0)
    truth[0, :4] = 0.1, 200.0, *np.nextafter(np.float32([0.1, 200]), np.float32(50))
    assert len(metric_pairs(truth[None], rig([truth]))[0].truth_m) == truth.size - 2


def test_the_network_protocol_moves_points_to_the_pixels_of_the_cached_image() -> None:
    small = {"images": np.zeros((2, 3, 5, 3), np.uint8), "ego_mask": np.ones((2, 3, 5), bool)}
    of = dataclasses.replace(rig([depth(0), depth(1)]), **small)
    by = protocol("network", DATASET)
    moved = np.zeros((3, 5))
    for v in range(NATIVE[0]):  # restated from the field's code: idx = int(idx · out/in), the last one wins
        for u in range(NATIVE[1]):
            moved[int(v * 3 / NATIVE[0]), int(u * 5 / NATIVE[1])] = of.lidar[0].depth_m[v * NATIVE[1] + u]
    assert [len(view.depth_m) for view in lidar_truth(of, by, DATASET).views] == [15, 15]
    predicted = np.random.default_rng(2).uniform(2, 150, (2, 3, 5))
    pair = metric_pairs(predicted, of, by)[0]
    np.testing.assert_array_equal(pair.truth_m, np.float32(moved.ravel()))
    np.testing.assert_allclose(pair.predicted_m, predicted[0].ravel(), rtol=1e-12)


def test_the_network_protocol_leaves_out_the_own_car_on_ddad_only() -> None:
    mask = np.ones((2, *NATIVE), bool)
    mask[:, 5:] = False
    of = dataclasses.replace(rig([depth(0), depth(1)]), ego_mask=mask)
    counted = {by.name: lidar_truth(of, protocol("network", by), by).views[0] for by in (DATASET, NUSCENES)}
    assert len(counted["ddad"].depth_m) == 5 * NATIVE[1]
    assert len(counted["nuscenes"].depth_m) == (depth(0).astype(np.float32) < 80).sum()
