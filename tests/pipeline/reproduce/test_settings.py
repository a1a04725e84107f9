"""What `fsmde reproduce` compares by default, at every size of the embedded world."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config
from pipeline.reproduce.reference import EMBEDDED, other_settings, read_reference
from pipeline.reproduce.variants import TERMS, compared
from pipeline.settings import ReproduceConfig, reproduce_defaults


def test_the_packaged_reference_is_that_of_the_defaults() -> None:
    for size, file in EMBEDDED.items():
        reference = read_reference(file)
        settings = config.build(ReproduceConfig, None, [], {"cache.root": "x"}, reproduce_defaults(size))
        assert other_settings(reference, settings.model_dump(mode="json")) == []
        # With what settings that came after it are unless they are given.
        of_reference = config.build(ReproduceConfig, None, [], {"cache.root": "x"}, reference.settings)
        assert of_reference.of_the_figures() == settings.of_the_figures()
        assert [*reference.rows] == [*compared(settings), "teacher street"]


@pytest.mark.parametrize("size", ["smoke", "small", "large"])
def test_every_size_of_the_embedded_world_is_a_valid_configuration(size: str) -> None:
    settings = config.build(ReproduceConfig, None, [], {"cache.root": "street"}, reproduce_defaults(size))
    assert settings.street is not None
    world = settings.street.world
    assert (settings.cache.image.height, settings.cache.image.width) == (world.height, world.width)
    assert settings.cache.teacher.id == "street"
    assert all(0 <= rig < len(settings.street.val.towns) * settings.street.val.rigs for rig in settings.pictured)
    losses = settings.train.losses
    assert min(getattr(losses, term) for term in TERMS) > 0, "every variant has its term"
    assert settings.cache.targets.features


def test_a_file_and_an_option_change_one_key_and_keep_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train: {losses: {rkd: 0.7}}\nstreet: {train: {rigs: 5}}\n")
    base = reproduce_defaults("small")
    settings = config.build(ReproduceConfig, file, ["seeds=4"], {"cache.root": "x", "train.steps": 9}, base)
    assert settings.train.losses.rkd == 0.7
    assert settings.train.losses.features == base["train"]["losses"]["features"]
    assert settings.street is not None
    assert settings.street.train.rigs == 5
    assert settings.street.train.towns == tuple(range(12))
    assert (settings.seeds, settings.train.steps) == (4, 9)
