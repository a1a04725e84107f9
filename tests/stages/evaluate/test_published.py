"""Published figures stand beside figures of the same dataset only."""

from __future__ import annotations

import pytest

from stages.evaluate.published import PUBLISHED, published, world_of


@pytest.mark.parametrize("dataset", ["ddad", "nuscenes"])
def test_a_protocol_has_the_rows_by_it_and_those_by_one_that_is_not_stated(dataset: str) -> None:
    native = {row.method for row in published(dataset, "1.0", "val", "native")}
    network = {row.method for row in published(dataset, "1.0", "val", "network")}
    assert native - network == {"SurroundDepth"}
    assert network - native == {"VFDepth"}
    assert native | network == {row.method for row in PUBLISHED[dataset]}


def test_a_world_in_ddads_format_is_not_ddad() -> None:
    assert world_of("ddad", "street-2-912feb11a74e") == "street"
    assert world_of("ddad", "1.0") == "ddad"
    assert published("ddad", "street-2-912feb11a74e", "val", "native") == ()


def test_nor_are_other_data_another_split_and_a_protocol_of_ones_own() -> None:
    assert published("mine", "1", "val", "native") == ()
    assert published("ddad", "1.0", "train", "native") == ()
    assert published("ddad", "1.0", "val", "near") == ()
