"""What an evaluation found, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.latency import Cost, Latency
from pipeline.report.tables import EMPTY, Cell, Line, Table, count, number
from pipeline.study.table import HEADINGS
from stages.evaluate.metrics import METRICS
from stages.evaluate.protocol import SCALED, TruthName
from stages.evaluate.published import Published, published
from stages.evaluate.result import CrossViewScores, Evaluation, Kind, PartScores, SubjectScores
from stages.wording import counted, size

STUDENT, PUBLISHED = "student", "published"
MAIN = ("abs_rel", "rmse", "delta_1")
_METRICS = tuple(HEADINGS[metric] for metric in METRICS)


def shown_scores(evaluation: Evaluation, truth: TruthName) -> list[SubjectScores]:
    """Every subject under every scaling, but what is scaled by medians already."""
    scores = evaluation.scores if truth == "lidar" else evaluation.dense_scores
    return [each for each in scores if each.alignment != "disparity_median" or each.scaling == "none"]


def unscaled(evaluation: Evaluation, truth: TruthName) -> dict[str, SubjectScores]:
    """The unscaled scores of the subjects that pictures show."""
    return {
        each.subject: each
        for each in shown_scores(evaluation, truth)
        if each.scaling == "none" and each.alignment != "disparity_median"
    }


def score_table(evaluation: Evaluation, truth: TruthName) -> Table:
    """All metrics of every subject, and published ones where they are of the same dataset and split."""
    lines = [_score_line(each) for each in shown_scores(evaluation, truth)]
    if truth == "lidar":
        data = (evaluation.dataset, evaluation.dataset_version, evaluation.split)
        lines += [_published_line(row) for row in published(*data, evaluation.protocol.name)]
    return Table("", _METRICS, tuple(lines))


def camera_table(evaluation: Evaluation) -> Table:
    """The student by camera, at LiDAR points, and what it was scored on."""
    lines = [
        Line(
            camera,
            (
                *(number(score.metrics[metric]) for metric in METRICS),
                count(score.images),
                count(score.images_without_points),
                count(score.points),
                count(score.clamped),
            ),
        )
        for camera, score in unscaled(evaluation, "lidar")[STUDENT].cameras.items()
    ]
    return Table("camera", (*_METRICS, "images", "without a point", "points", "clamped"), tuple(lines))


def part_table(evaluation: Evaluation, kinds: Sequence[Kind], truth: TruthName) -> Table | None:
    """AbsRel of every subject, and more of the student, over parts of what was scored; None where there are none."""
    parts: dict[str, dict[str, PartScores]] = {}
    for part in evaluation.parts:
        if part.kind in kinds and part.truth == truth:
            parts.setdefault(part.part, {})[part.subject] = part
    others = [subject for subject in unscaled(evaluation, truth) if subject != STUDENT]
    lines = [_part_line(name, of, others) for name, of in parts.items() if STUDENT in of]
    headings = ("rigs", "points", *(HEADINGS[metric] for metric in MAIN), *(f"AbsRel, {name}" for name in others))
    return Table("part", headings, tuple(lines)) if lines else None


def overlap_table(evaluation: Evaluation) -> Table | None:
    """Where neighbours see the same; None where no cameras are adjacent."""
    shown = [s for s in evaluation.cross_view if s.scaling == "none" and s.alignment != "disparity_median"]
    lines = [_overlap_line(scores) for scores in shown]
    headings = (*(HEADINGS[metric] for metric in MAIN), "disagreement", "disagreement (m)", "common points")
    return Table("", headings, tuple(lines)) if lines else None


def pair_table(evaluation: Evaluation) -> Table | None:
    """How far every two neighbours are apart, at the densest truth; None where no cameras are adjacent."""
    truth = "dense" if evaluation.dense_scores else "lidar"
    shown = {
        scores.subject: scores.consistency
        for scores in evaluation.cross_view
        if (scores.scaling, scores.truth) == ("none", truth) and scores.alignment != "disparity_median"
    }
    if STUDENT not in shown:
        return None
    lines = [Line(pair, tuple(number(of[pair].metrics["rel"]) for of in shown.values())) for pair in shown[STUDENT]]
    return Table("cameras", tuple(f"disagreement, {subject}" for subject in shown), tuple(lines))


def worst_table(evaluation: Evaluation, links: Mapping[int, str]) -> Table:
    """The rigs on which the student is worst, with a link to those that are shown."""
    lines = [
        Line(
            f"{rig.scene} / {rig.sample}",
            (count(rig.index), Cell({"lidar": "LiDAR", "dense": "dense"}[rig.truth]), number(rig.abs_rel)),
            link=links.get(rig.index, ""),
        )
        for rig in evaluation.worst
        if rig.subject == STUDENT
    ]
    return Table("rig", ("number", "truth", "AbsRel"), tuple(lines))


def latency_table(latency: Latency) -> Table:
    """What teacher and student need for one rig."""
    lines = [
        _cost_line(f"teacher {latency.teacher_id}", latency.teacher, "teacher"),
        _cost_line(STUDENT, latency.student, "method"),
    ]
    headings = (
        "median (ms)",
        "95th percentile (ms)",
        "parameters (M)",
        "multiply-adds (G)",
        "peak memory",
        "precision",
    )
    return Table("", headings, tuple(lines))


def counts_in_words(evaluation: Evaluation) -> str:
    """What the student was scored on, and what counts in no mean."""
    mean = unscaled(evaluation, "lidar")[STUDENT].mean
    says = f"{counted(evaluation.rigs, 'rig')}, {mean.images} images, {mean.points} LiDAR points"
    if mean.images_without_points:
        says += f"; {mean.images_without_points} images without a point in range count in no mean"
    if mean.clamped:
        says += f"; at {mean.clamped} points the student was clamped"
    return f"{says}."


def _score_line(scores: SubjectScores) -> Line:
    name = scores.subject if scores.scaling == "none" else f"{scores.subject}, {SCALED[scores.scaling]}"
    metrics, intervals = scores.mean.metrics, scores.intervals
    student = scores.subject == STUDENT
    kind = ("method" if scores.scaling == "none" else "") if student else "teacher"
    return Line(name, tuple(number(metrics[metric], interval=intervals.get(metric)) for metric in METRICS), kind)


def _published_line(row: Published) -> Line:
    known = {"abs_rel": row.abs_rel, "sq_rel": row.sq_rel, "rmse": row.rmse, "delta_1": row.delta_1}
    by = "by this protocol" if row.protocol else "protocol not stated"
    name = f"{row.method} (published; learned from {row.supervision}; {by})"
    return Line(name, tuple(number(known.get(metric)) for metric in METRICS), PUBLISHED)


def _part_line(name: str, of: Mapping[str, PartScores], others: Sequence[str]) -> Line:
    student = of[STUDENT]
    more = [number(of[other].metrics["abs_rel"]) if other in of else EMPTY for other in others]
    figures = [number(student.metrics[metric]) for metric in MAIN]
    return Line(name, (count(student.rigs), count(student.points), *figures, *more))


def _overlap_line(scores: CrossViewScores) -> Line:
    overlap, apart = scores.overlap_mean, scores.consistency_mean
    cells = (
        *(number(overlap.metrics[metric]) for metric in MAIN),
        number(apart.metrics["rel"]),
        number(apart.metrics["rmse"]),
        count(apart.points),
    )
    where = "dense depth" if scores.truth == "dense" else "LiDAR points"
    return Line(f"{scores.subject}, {where}", cells, "method" if scores.subject == STUDENT else "teacher")


def _cost_line(name: str, cost: Cost, kind: str) -> Line:
    cells = (
        number(1000 * cost.median_s, 1),
        number(1000 * cost.p95_s, 1),
        number(cost.parameters / 1e6, 1),
        number(cost.multiply_adds / 1e9, 1),
        Cell(size(cost.peak_bytes), value=cost.peak_bytes),
        Cell(cost.precision),
    )
    return Line(name, cells, kind)
