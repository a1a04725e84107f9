"""A figure against an axis: which lines there are, where they go, and what their bars are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.study.config import Plot
from pipeline.study.figures import figure
from pipeline.study.paired import Estimate
from pipeline.study.plot import draw, lines_of
from pipeline.study.result import Pair, Row, StudyResult
from pipeline.study.table import improvement_text, interval_text
from pipeline.study.trial import Label

AXES: tuple[tuple[Label, str], ...] = ((96, "poor"), (12, "poor"), (96, "good"), (12, "good"))


def result() -> StudyResult:
    """Two variants at the points of two axes, in no order."""
    rows, pairs = [], []
    for variant in ("lidar", "ckd"):
        for rigs, teacher in AXES:
            name, place = f"{variant}, rigs {rigs}, teacher {teacher}", {"rigs": rigs, "teacher": teacher}
            figures = {"lidar.abs_rel": figure([float(rigs) / 100, float(rigs) / 100 + 0.02])}
            against = None if variant == "lidar" else f"lidar, rigs {rigs}, teacher {teacher}"
            rows.append(
                Row(
                    name=name, kind="variant", says="", figures=figures, variant=variant, place=place, against=against,
                    seeds=(0, 1),
                )
            )  # fmt: skip
            if against is not None:
                better = Estimate(values=(0.1, 0.2), mean=0.15, spread=0.07, low=0.1, high=0.3)
                improvement = {"lidar.mean": better}
                pairs.append(Pair(row=name, against=against, seeds=(0, 1), difference={}, improvement=improvement))
    return StudyResult.model_construct(rows=tuple(rows), pairs=tuple(pairs), baseline="lidar")


def test_a_line_for_each_variant_and_point_of_the_other_axes_in_the_order_of_numbers() -> None:
    lines = lines_of(Plot(x="rigs", y="lidar.abs_rel"), result())
    assert [line.name for line in lines] == [
        "lidar, teacher poor", "lidar, teacher good", "ckd, teacher poor", "ckd, teacher good",
    ]  # fmt: skip
    assert all(line.x == (12, 96) for line in lines)
    assert lines[0].y == pytest.approx((0.13, 0.97))
    assert lines[0].low[0] == pytest.approx(0.13 - 0.02 / 2**0.5), "a standard deviation over seeds"
    assert lines[0].colour == lines[1].colour != lines[2].colour
    assert lines[0].style != lines[1].style


def test_an_improvement_has_its_interval_and_the_baseline_no_line() -> None:
    lines = lines_of(Plot(x="rigs"), result())
    assert [line.name for line in lines] == ["ckd, teacher poor", "ckd, teacher good"]
    assert (lines[0].y, lines[0].low, lines[0].high) == ((0.15, 0.15), (0.1, 0.1), (0.3, 0.3))


def test_labels_that_are_no_numbers_stand_in_their_order_and_variants_can_be_chosen(tmp_path: Path) -> None:
    plot = Plot(x="teacher", y="lidar.abs_rel", variants=("ckd",), log=True)
    lines = lines_of(plot, result())
    assert {line.name: line.x for line in lines} == {"ckd, rigs 96": ("poor", "good"), "ckd, rigs 12": ("poor", "good")}
    files = draw(plot, result(), tmp_path)
    assert [file.name for file in files] == ["lidar.abs_rel-by-teacher.svg", "lidar.abs_rel-by-teacher.png"]
    drawn = files[0].read_text()
    assert ">poor</text>" in drawn
    assert draw(plot, result(), tmp_path)[0].read_text() == drawn, "the same every time"


def test_nothing_is_drawn_of_a_figure_that_nobody_has(tmp_path: Path) -> None:
    assert draw(Plot(x="rigs", y="dense.abs_rel"), result(), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_intervals_are_signed_and_nothing_is_a_dash() -> None:
    estimate = Estimate(values=(0.05,), mean=0.05, spread=None, low=-0.01, high=0.11)
    assert improvement_text(estimate) == "+5.0 [-1.0, +11.0] %"
    assert interval_text(estimate.model_copy(update={"low": None, "high": None})) == "+0.050"
    assert interval_text(None) == interval_text(Estimate(values=(None,), mean=None, spread=None)) == "–"
