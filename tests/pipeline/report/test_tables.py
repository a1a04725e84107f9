"""Tables of the report."""

from __future__ import annotations

from pipeline.report.run.tables import score_table
from pipeline.report.tables import Cell, Line, Table, count, escaped, markdown, number
from stages.evaluate.protocol import protocol
from stages.evaluate.result import Evaluation
from tests.wall_world import DATASET


def evaluation(dataset: str, version: str, split: str) -> Evaluation:
    return Evaluation(
        code_version="0",
        cache="zarr",
        run="runs/first",
        dataset=dataset,
        dataset_version=version,
        split=split,
        rigs=1,
        protocol=protocol("native", DATASET),
        scores=(),
    )


def test_published_rows_are_marked_and_stand_beside_the_same_dataset_and_split() -> None:
    lines = score_table(evaluation("ddad", "1.0", "val"), "lidar").lines
    assert lines[0].name == "SurroundDepth (published; learned from video; by this protocol)"
    assert [cell.text for cell in lines[0].cells] == ["0.208", "3.371", "12.977", "–", "–", "0.693", "–", "–"]
    assert {line.kind for line in lines} == {"published"}
    for other in (("ddad", "1.0", "train"), ("ddad", "street-2-0", "val"), ("mine", "1", "val")):
        assert score_table(evaluation(*other), "lidar").lines == ()


def test_what_is_not_known_is_not_a_number() -> None:
    assert number(None) == Cell("–")
    assert number(0.12345, interval=(0.1, 0.2)) == Cell("0.123", "[0.100, 0.200]", 0.12345)
    assert count(1234567).text == "1\u202f234\u202f567"


def test_markdown_has_a_row_for_every_line() -> None:
    table = Table("scene", ("AbsRel", "δ1"), (Line("a|b_c", (number(0.5), Cell("x", "[y]"))),))
    assert markdown(table) == ["| scene | AbsRel | δ1 |", "|---|---:|---:|", "| a\\|b\\_c | 0.500 | x [y] |"]


def test_names_are_text_in_markdown() -> None:
    assert escaped("[a](b) <script> *x* `y`\n# z") == ("\\[a\\](b) \\<script\\> \\*x\\* \\`y\\` \\# z")
