"""Protocols are data: those of the field by name, one's own by what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache_schema.errors import ConfigError
from pipeline.commands.evaluate import read_protocol
from stages.evaluate.protocol import Protocol, ProtocolSettings, protocol
from tests.stages.evaluate.test_scoring import DATASET, NUSCENES


def test_the_range_is_that_of_the_dataset() -> None:
    assert protocol("native", DATASET).range_m == (0.1, 200.0)
    assert protocol("native", NUSCENES).range_m == (0.1, 80.0)
    assert protocol("network", NUSCENES).range_m == (0.0, 80.0)


def test_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown protocol 'nativ'; there are: native, network.*\.yaml"):
        protocol("nativ", DATASET)


def test_what_is_not_said_is_as_in_the_protocol_it_is_like() -> None:
    base = protocol("network", DATASET)
    mine = protocol(ProtocolSettings(name="mine", like="network", ego_mask=False), DATASET)
    assert mine == base.model_copy(update={"name": "mine", "source": "like network", "ego_mask": False})


def test_predictions_are_clamped_to_a_range_of_ones_own_too() -> None:
    assert protocol(ProtocolSettings(name="near", range_m=(0.5, 50)), DATASET).clamp_m == (0.5, 50)
    assert protocol(ProtocolSettings(name="near", like="network", range_m=(0, 50)), DATASET).clamp_m == (0.001, 50)
    chosen = ProtocolSettings(name="near", range_m=(0.5, 50), clamp_m=(0.1, 60))
    assert protocol(chosen, DATASET).clamp_m == (0.1, 60)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"range_m": (50, 10)}, "range_m is 50 to 10; expected the lower end first"),
        ({"clamp_m": (0, 10)}, "clamp_m begins at 0; expected more"),
        ({"depth_ranges_m": ((10, 5),)}, "a range that ends before it begins"),
        ({"scalings": ("median_rig",)}, 'scalings lack "none"'),
        ({"border": 0.7}, "border: Input should be less than 0.5"),
        ({"name": "native"}, "called native; expected another name"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        protocol(ProtocolSettings(**({"name": "mine"} | settings)), DATASET)


def test_a_protocol_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nlike: network\nrange_m: [1, 60]\n")
    read = read_protocol(str(file))
    assert isinstance(read, ProtocolSettings)
    assert protocol(read, DATASET).range_m == (1, 60)
    assert read_protocol("network") == "network"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: mine\nrange: [1, 2]\n", "range'; did you mean 'range_m'"),
        ("like: native\n", "name is required"),
        ("name: My Protocol\n", "name"),
        ("- native\n", "holds a list"),
        ("name: [", "cannot be read"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=said) as raised:
        read_protocol(str(file))
    assert str(file) in str(raised.value)


def test_the_whole_definition_is_in_the_result() -> None:
    described = protocol("native", DATASET).model_dump()
    assert set(described) == set(Protocol.model_fields)
    assert Protocol.model_validate(described) == protocol("native", DATASET)
