"""What `fsmde evaluate` prints beside what it measured."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline.commands.evaluate import print_tables
from stages.evaluate.protocol import protocol
from stages.evaluate.result import Evaluation
from tests.wall_world import DATASET


@pytest.mark.parametrize(("version", "shown"), [("1.0", True), ("street-2-912feb11a74e", False)])
def test_published_rows_are_marked_and_fit_a_terminal(version: str, shown: bool) -> None:
    evaluation = Evaluation(
        code_version="0",
        cache="zarr",
        run=None,
        dataset="ddad",
        dataset_version=version,
        split="val",
        rigs=1,
        protocol=protocol("native", DATASET),
        scores=(),
    )
    printed = io.StringIO()
    print_tables(Console(file=printed, width=80), [evaluation])
    assert ("published, not" in printed.getvalue()) == shown
    assert ("0.208" in printed.getvalue()) == shown
    assert all(len(line) <= 80 for line in printed.getvalue().splitlines())
