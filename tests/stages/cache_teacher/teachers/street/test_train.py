"""Training the street teacher, in a world of a few pixels."""

from __future__ import annotations

import os
import signal
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from cache_schema.errors import TrainingError
from stages.cache_teacher.datasets.street import DATASET_TOWNS, TEACHER_TRAINING_TOWNS, TEACHER_VALIDATION_TOWNS
from stages.cache_teacher.teachers.street.settings import Budget, TrainingSettings
from stages.cache_teacher.teachers.street.towns import Supply, Town, TownPool, packed, unpacked
from stages.cache_teacher.teachers.street.train import draw_pictures, learning_rate, supply_of, train
from tests.stages.cache_teacher.teachers.street.conftest import TINY
from tests.stages.cache_teacher.teachers.street.stub_town import render_stub

SMALL = TrainingSettings(
    height=32, width=64, **TINY, rigs_per_town=1, batch=4, reuse=1, first_towns=2, kept_towns=3, precision="float32"
)
CPU = torch.device("cpu")


def train_small(run, steps, **changes):
    settings = SMALL.model_copy(update={"precision": "float32", **changes})
    return train(settings, Budget(steps=steps), run, device=CPU, workers=0, render=render_stub, say=lambda line: None)


def test_towns_of_datasets_training_and_validation_have_nothing_in_common():
    ranges = sorted([DATASET_TOWNS, TEACHER_VALIDATION_TOWNS, TEACHER_TRAINING_TOWNS], key=lambda r: r.start)

    assert all(len(towns) > 0 for towns in ranges)
    assert all(before.stop <= after.start for before, after in pairwise(ranges))


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    whole = train_small(tmp_path / "whole", 6)
    for _ in range(3):  # two steps each
        asked = iter([False, False, True])
        budget = Budget(steps=6)
        parts = train(
            SMALL, budget, tmp_path / "parts", device=CPU, workers=0, render=render_stub,
            stop=lambda asked=asked: next(asked), say=lambda line: None,
        )  # fmt: skip

    assert parts.step == whole.step == 6
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, parts.network.state_dict()[name]), name
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, parts.average.state_dict()[name]), name


def test_training_learns(tmp_path):
    lines = []
    settings = SMALL.model_copy(update={"first_towns": 4, "reuse": 50.0})

    train(settings, Budget(steps=150), tmp_path, device=CPU, workers=0, render=render_stub, say=lines.append)

    losses = [float(line.partition("log_error")[2].split()[0]) for line in lines]
    assert len(losses) == 3
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_with_other_settings_is_refused(tmp_path):
    train_small(tmp_path, 1)

    with pytest.raises(TrainingError, match=r"seed: 0 stored, 1 asked; remove .* or choose another --run"):
        train_small(tmp_path, 2, seed=1)


def test_a_damaged_run_is_refused(tmp_path):
    (tmp_path / "training.pt").write_bytes(b"half a file")

    with pytest.raises(TrainingError, match="damaged"):
        train_small(tmp_path, 1)


def test_a_training_ends_by_steps_or_by_time():
    assert Budget(steps=10).progress(5, seconds=1e9) == 0.5
    assert Budget(minutes=10).progress(10**9, seconds=60) == 0.1
    for wrong in ({}, {"steps": 1, "minutes": 1}):
        with pytest.raises(ValidationError, match="either"):
            Budget(**wrong)


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate(done / 100, SMALL) for done in range(101)]

    assert rates[0] < rates[1] < SMALL.lr
    assert max(rates) == pytest.approx(SMALL.lr, rel=0.01)
    assert rates[-1] < 0.01 * SMALL.lr


def test_towns_come_in_as_pictures_are_used():
    supply = Supply(pictures_per_town=24, batch=12, reuse=2, first=3, kept=5)

    assert supply.window(0) == range(3)
    assert supply.window(4) == range(4)  # 48 drawn: 24 pictures, twice
    assert supply.window(400) == range(98, 103)
    drawn = supply.draw(400, seed=1)
    assert drawn == supply.draw(400, seed=1) != supply.draw(401, seed=1)
    assert {town for town, _ in drawn} <= set(supply.window(400))


def test_a_picture_survives_the_disk():
    images, depth_m = render_stub(3, 1, 32, 64)

    image, depth = unpacked(packed(images, depth_m)[2])

    assert (image == images[2]).all()
    torch.testing.assert_close(
        torch.from_numpy(depth), torch.from_numpy(depth_m[2]), rtol=1 / 2000, atol=0, equal_nan=True
    )


def test_processes_render_the_same_towns(tmp_path):
    size = {"rigs": 1, "height": 32, "width": 64, "render": render_stub}
    supply = supply_of(SMALL)
    with TownPool(tmp_path / "here", **size, workers=0) as here, TownPool(tmp_path / "away", **size, workers=1) as away:
        for step in range(3):
            for one, other in zip(
                draw_pictures(here, supply, step, 0), draw_pictures(away, supply, step, 0), strict=True
            ):
                torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def die(town: int, rigs: int, height: int, width: int) -> Town:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_renderer_that_is_killed_is_told_in_a_line(tmp_path):
    supply = supply_of(SMALL)
    with TownPool(tmp_path, rigs=1, height=32, width=64, workers=1, render=die) as pool:
        with pytest.raises(TrainingError, match=r"a process that renders towns died, .* with fewer --workers"):
            draw_pictures(pool, supply, 0, 0)
        with pytest.raises(TrainingError, match="a process that renders towns died"):
            pool.move_to(range(1, 1000))
