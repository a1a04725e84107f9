"""The raw scale of a teacher's disparity: what normalisation takes off each view is kept beside its targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from cache_schema import Cache, TargetSpec
from cache_schema.errors import CacheMissingError
from cache_schema.soft_targets import Moments, expand, expected_position
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.estimate import estimate
from stages.cache_teacher.execute import execute
from stages.cache_teacher.normalisation import fit_normaliser
from stages.cache_teacher.plan import CachePlan, plan
from stages.cache_teacher.soft_targets import soft_target
from stages.cache_teacher.teachers import load_teacher
from stages.cache_teacher.teachers.base import BinPrediction, PointPrediction
from stages.progress import Silent
from tests.dgp_world import write_dgp_world
from tests.pipeline.test_chain import file_contents
from tests.tiny_teachers import write_tiny_teacher

SIZE_HW = (48, 80)
GRID = (12, 20)
every_way = pytest.mark.parametrize("way", ["quantiles", "median", "rank"])


def spec(way: str) -> TargetSpec:
    return TargetSpec.model_validate({"height": GRID[0], "width": GRID[1], "normalisation": way})


def disparity(seed: int) -> torch.Tensor:
    """Three views of a road below a sky, of scales of their own."""
    noise = torch.rand(3, *GRID, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    below = torch.linspace(-0.5, 1, GRID[0], dtype=torch.float64).clamp(min=0)[:, None]
    return (below * (3 + noise)) * torch.tensor([0.1, 1, 20])[:, None, None] + torch.tensor([-2, 0, 30])[:, None, None]


@pytest.mark.parametrize("way", ["quantiles", "median"])
def test_low_and_span_give_back_the_disparity_of_every_test_time_view(way: str) -> None:
    plain, mirrored = disparity(0), disparity(1) * 7 - 3
    _, scale = soft_target([PointPrediction(plain), PointPrediction(mirrored)], np.ones((3, *GRID), bool), spec(way))
    assert scale.low.shape == scale.span.shape == (3, 2)
    assert scale.low.dtype == scale.span.dtype == np.float32
    for seen, low, span in zip((plain, mirrored), scale.low.T, scale.span.T, strict=True):
        u = fit_normaliser(seen.numpy(), np.ones((3, *GRID), bool), spec(way))(seen.numpy())
        back = low[:, None, None] + u * span[:, None, None]
        inside = (u > 0) & (u < 1)
        assert inside.mean() > 0.4
        np.testing.assert_allclose(back[inside], seen.numpy()[inside], rtol=1e-5, atol=1e-5)


def test_by_rank_they_are_those_of_what_was_ranked() -> None:
    d = disparity(0)
    (_, ranked), (_, plain) = (
        soft_target([PointPrediction(d)], np.ones((3, *GRID), bool), spec(way)) for way in ("rank", "quantiles")
    )
    np.testing.assert_array_equal(ranked.low, plain.low)
    np.testing.assert_array_equal(ranked.span, plain.span)


@every_way
def test_the_centres_of_a_bin_head_too(way: str) -> None:
    """A head that is sure: all probability in a bin whose centre is the disparity."""
    d = disparity(0)
    _, scale = soft_target([BinPrediction(torch.ones(3, 1, *GRID), d[:, None])], np.ones((3, *GRID), bool), spec(way))
    _, same = soft_target([PointPrediction(d)], np.ones((3, *GRID), bool), spec(way))
    np.testing.assert_array_equal(scale.low, same.low)
    np.testing.assert_array_equal(scale.span, same.span)


@pytest.mark.parametrize("kind", ["point", "bins"])
def test_a_view_of_which_the_teacher_says_nothing_has_zeros(kind: str) -> None:
    """Although only its mirrored test-time view is constant: the target says nothing either."""
    plain, mirrored = disparity(0), disparity(1)
    mirrored[1] = 4.0
    seen: list[Any] = [plain, mirrored]
    predictions = [
        PointPrediction(d) if kind == "point" else BinPrediction(torch.ones(3, 1, *GRID), d[:, None]) for d in seen
    ]
    target, scale = soft_target(predictions, np.ones((3, *GRID), bool), spec("median"))
    np.testing.assert_array_equal(scale.low[1], 0)
    np.testing.assert_array_equal(scale.span[1], 0)
    assert (scale.span[[0, 2]] > 0).all()
    assert not isinstance(target, Moments) or (target.mean[1] == 0.5).all()


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dgp_world(tmp_path_factory.mktemp("raw") / "world", scenes=1, samples=3, size_hw=SIZE_HW)


def settings(raw: Path, cache: Path, teacher: Path, *, flip: bool = True, **changes: Any) -> CacheTeacherConfig:
    return CacheTeacherConfig.model_validate(
        {
            "dataset": "ddad", "root": raw, "cache": str(cache), "splits": ["train"], "shard_rigs": 2, "device": "cpu",
            "teacher": {"id": str(teacher), "name": "tiny", "flip": flip},
            "image": {"height": SIZE_HW[0], "width": SIZE_HW[1]}, "targets": {"token_grid": [2, 3]}, **changes,
        }
    )  # fmt: skip


def cached(made: CachePlan) -> int:
    return execute(made, Silent(), code_version="test").rigs


@pytest.mark.parametrize(
    ("architecture", "unit"),
    [("depth_anything", "1"), ("depth_anything_metric", "1/m"), ("depth_pro", "1/m"), ("zoedepth", "1/m")],
)
def test_what_the_teacher_said_can_be_had_from_the_cache(
    raw: Path, tmp_path: Path, architecture: str, unit: str
) -> None:
    """Of each kind: its own answer to the cached frames, which are the files it saw, beside low + u · span."""
    folder = write_tiny_teacher(tmp_path / architecture, architecture)
    config = settings(raw, tmp_path / "zarr", folder, flip=False)
    assert cached(plan(config)) == 3
    cache = Cache(config.cache)
    reader = cache.targets("train", "tiny", raw_scale=True)
    stored = reader[2]
    (said,) = load_teacher(str(folder), flip=False)(tuple(cache.split("train")[2].images)).predictions
    if isinstance(said, BinPrediction):
        maps = (said.probability * said.centre_disparity).sum(dim=1, keepdim=True)
    else:
        maps = said.disparity[:, None]
    d = F.interpolate(maps, GRID, mode="bilinear", align_corners=False, antialias=True)[:, 0].numpy()
    u = expected_position(expand(stored.encoded, reader.spec), reader.spec.bins)
    low, span = stored.disparity_low[..., None], stored.disparity_span[..., None]
    near = (u > 0.1) & (u < 0.9)
    off = np.abs(low + u * span - d) / span
    assert near.mean() > 0.1
    # Random bins lie far apart, and what is beyond the ends of u is clipped before it is averaged
    assert np.median(off[near]) < (0.1 if isinstance(said, BinPrediction) else 0.003)
    array = Path(config.cache) / "train/teachers/tiny/disparity_low/zarr.json"
    assert f'"unit": "{unit}"' in array.read_text(encoding="utf-8")


def test_a_covered_lens_has_zeros_and_the_mirrored_view_a_scale_of_its_own(tmp_path: Path) -> None:
    raw = write_dgp_world(tmp_path / "raw", scenes=1, samples=2, size_hw=SIZE_HW)
    Image.new("RGB", SIZE_HW[::-1]).save(sorted(raw.glob("*/rgb/CAMERA_09/*.jpg"))[1])
    config = settings(raw, tmp_path / "zarr", write_tiny_teacher(tmp_path / "teacher"))
    cached(plan(config))
    stored = Cache(config.cache).targets("train", "tiny", raw_scale=True)[1]
    np.testing.assert_array_equal(stored.disparity_low[3], [0, 0])
    np.testing.assert_array_equal(stored.disparity_span[3], [0, 0])
    others = np.delete(stored.disparity_span, 3, axis=0)
    assert (others > 0).all()
    assert (others[:, 0] != others[:, 1]).all()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_teacher(tmp_path_factory.mktemp("teacher") / "tiny")


def begun_before(config: CacheTeacherConfig) -> CachePlan:
    """What fsmde made before it kept raw scales."""
    return replace(plan(config), keeps_raw_scale=False)


def test_a_cache_of_before_goes_on_as_it_was_begun(raw: Path, tmp_path: Path, teacher: Path) -> None:
    config = settings(raw, tmp_path / "zarr", teacher)
    cached(begun_before(config))
    before = file_contents(tmp_path / "zarr")
    again = plan(config)
    assert any("without raw scale" in line and "--overwrite" in line for line in again.describe())
    assert "teachers/tiny/disparity_low" not in estimate(again, Silent(), code_version="test")
    assert cached(again) == 0
    assert file_contents(tmp_path / "zarr") == before
    assert cached(plan(settings(raw, tmp_path / "zarr", teacher, splits=["train", "val"]))) == 3
    cache = Cache(config.cache)
    assert len(cache.targets("val", "tiny")) == 3
    with pytest.raises(CacheMissingError, match="no raw scale of teacher tiny"):
        cache.targets("train", "tiny", raw_scale=True)


def test_an_interrupted_one_is_finished_as_it_was_begun(raw: Path, tmp_path: Path, teacher: Path) -> None:
    whole, interrupted = (settings(raw, tmp_path / name, teacher) for name in ("whole", "interrupted"))
    for config in (whole, interrupted):
        cached(begun_before(config))
    (tmp_path / "interrupted/.fsmde/journal/train/teachers/tiny/000001.json").unlink()
    assert cached(plan(interrupted)) == 1
    assert file_contents(tmp_path / "interrupted") == file_contents(tmp_path / "whole")


def test_overwrite_adds_it_and_all_else_keeps_its_bytes(raw: Path, tmp_path: Path, teacher: Path) -> None:
    config = settings(raw, tmp_path / "zarr", teacher)
    cached(begun_before(config))
    before = file_contents(tmp_path / "zarr")
    anew = plan(config.model_copy(update={"overwrite": True}))
    assert anew.keeps_raw_scale
    cached(anew)
    after = file_contents(tmp_path / "zarr")
    new = {name for name in after if name not in before}
    assert {Path(name).parent.name for name in new} == {"disparity_low", "disparity_span"}
    arrays = [name for name in before if name.startswith("train/")]
    assert arrays
    assert {name: after[name] for name in arrays} == {name: before[name] for name in arrays}
    assert Cache(config.cache).targets("train", "tiny", raw_scale=True)[0].disparity_low.shape == (6, 2)
