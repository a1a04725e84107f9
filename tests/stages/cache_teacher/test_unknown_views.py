"""A view of which the teacher knows nothing is told and stored as such; a teacher that knows nothing is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cache_schema import BinSpec, Cache, TargetSpec
from cache_schema.errors import TeacherError
from cache_schema.soft_targets import encode, says_nothing
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.execute import execute
from stages.cache_teacher.normalisation import ROUNDING
from stages.cache_teacher.plan import plan
from stages.cache_teacher.soft_targets import soft_target
from stages.cache_teacher.teachers.base import BinPrediction, PointPrediction, TeacherOutput
from stages.cache_teacher.teachers.hub_teacher import HubTeacher
from stages.cache_teacher.unknown_views import levelled
from stages.progress import Silent
from tests.dgp_world import RING, write_dgp_world
from tests.tiny_teachers import write_tiny_teacher

VIEWS, GRID = 3, (6, 10)


def spec(encoding: str) -> TargetSpec:
    return TargetSpec.model_validate(
        {
            "height": GRID[0],
            "width": GRID[1],
            "bins": BinSpec(count=16),
            "encoding": encoding,
            "normalisation": "median",
        }
    )


def points(seed: int = 0) -> PointPrediction:
    return PointPrediction(torch.rand(VIEWS, *GRID, generator=torch.Generator().manual_seed(seed)) + 1)


def bins() -> BinPrediction:
    probability = torch.rand(VIEWS, 4, *GRID, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    return BinPrediction(probability, torch.linspace(0.1, 1, 4)[:, None, None].expand_as(probability).clone())


def silent_views(
    predictions: list[PointPrediction | BinPrediction], encoding: str, rounding: float = 1e-5
) -> list[bool]:
    how = spec(encoding)
    target, _ = soft_target(predictions, np.ones((VIEWS, *GRID), bool), how, rounding)
    encoded = encode(target, how)
    in_torch = {name: torch.from_numpy(array)[None] for name, array in encoded.items()}
    found = says_nothing(encoded)
    np.testing.assert_array_equal(says_nothing(in_torch)[0], found)
    return list(found)


@pytest.mark.parametrize("encoding", ["moments", "topk", "dense"])
@pytest.mark.parametrize("prediction", [points(), bins()], ids=["point", "bins"])
def test_a_constant_view_is_marked_in_every_encoding(
    prediction: PointPrediction | BinPrediction, encoding: str
) -> None:
    assert silent_views([prediction], encoding) == [False, False, False]
    level = levelled(prediction, np.array([False, True, False]))
    assert silent_views([level], encoding) == [False, True, False]
    assert silent_views([prediction, level], encoding) == [False, True, False], "one test-time view is enough"


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_what_differs_by_rounding_alone_is_constant(precision: str) -> None:
    noisy = points().disparity.clone()
    dtype = getattr(torch, precision)
    steps = torch.randint(-1, 2, GRID, generator=torch.Generator().manual_seed(0))
    noisy[1] = (37.3 * (1 + steps * torch.finfo(dtype).eps)).to(dtype).float()
    assert noisy[1].std() > 0
    assert silent_views([PointPrediction(noisy)], "moments", ROUNDING[precision]) == [False, True, False]


def let_it_say_the_same_everywhere(monkeypatch: pytest.MonkeyPatch, *views: int) -> None:
    """In some views of each rig."""
    look, chosen = HubTeacher.__call__, np.isin(np.arange(len(RING)), views)

    def changed(teacher: HubTeacher, images: Any) -> TeacherOutput:
        output = look(teacher, images)
        return TeacherOutput(tuple(levelled(each, chosen) for each in output.predictions), output.features)

    monkeypatch.setattr(HubTeacher, "__call__", changed)


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_teacher(tmp_path_factory.mktemp("teacher") / "tiny")


@pytest.fixture
def config(teacher: Path, tmp_path: Path) -> CacheTeacherConfig:
    root = write_dgp_world(tmp_path / "raw", scenes=1, samples=3, size_hw=(48, 80))
    return CacheTeacherConfig.model_validate(
        {
            "dataset": "ddad", "root": root, "cache": str(tmp_path / "zarr"), "splits": ["train"],
            "teacher": {"id": str(teacher), "flip": False}, "image": {"height": 48, "width": 80},
            "shard_rigs": 2, "device": "cpu", "targets": {"token_grid": [2, 3]},
        }
    )  # fmt: skip


def cached(config: CacheTeacherConfig) -> list[str]:
    notes = Notes()
    execute(plan(config), notes, code_version="test")
    return notes.lines


def stored(config: CacheTeacherConfig) -> list[list[bool]]:
    targets = Cache(config.cache).targets("train", "tiny")
    return [list(says_nothing(targets[rig].encoded)) for rig in range(3)]


def test_a_teacher_that_says_nothing_is_refused_at_the_first_shard(
    config: CacheTeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_say_the_same_everywhere(monkeypatch, *range(6))
    with pytest.raises(TeacherError, match=r"tiny gives the same answer .* first of 000000 sample 000000, CAMERA_01"):
        cached(config)
    assert not list(Path(config.cache).glob(".fsmde/journal/train/**/0*.json"))


def test_one_dead_view_is_told_and_the_rest_is_kept(
    config: CacheTeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_say_the_same_everywhere(monkeypatch, 2)
    lines = [line for line in cached(config) if "nothing is learned" in line]
    assert lines == [
        f"nothing is learned from 000000 sample 00000{i}, CAMERA_07: the teacher's answer is the same at every pixel"
        for i in range(3)
    ]
    assert stored(config) == [[False, False, True, False, False, False]] * 3


def test_an_image_of_one_colour_is_not_learned_from_whatever_the_teacher_makes_up(config: CacheTeacherConfig) -> None:
    covered = sorted(config.root.glob("*/rgb/CAMERA_09/*.jpg"))[1]
    Image.new("RGB", (80, 48)).save(covered)
    (line,) = (line for line in cached(config) if "nothing is learned" in line)
    assert line.endswith("000000 sample 000001, CAMERA_09: its image is of one colour")
    assert stored(config) == [[False] * 6, [False, False, False, True, False, False], [False] * 6]


def test_nan_is_refused_with_sample_and_camera(config: CacheTeacherConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = HubTeacher._forward

    def broken(teacher: HubTeacher, pixel_values: torch.Tensor):
        output = forward(teacher, pixel_values)
        output.predicted_depth[4, 0, 0] = torch.nan
        return output

    monkeypatch.setattr(HubTeacher, "_forward", broken)
    with pytest.raises(TeacherError, match=r"^000000 sample 000000, CAMERA_08: teacher tiny answered with NaN"):
        cached(config)
