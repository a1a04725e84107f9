"""`report.html` of a run: one file that works without a network."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import Any

from plotly.offline import get_plotlyjs

from pipeline.painting import data_url, error_colours, in_a_row, shrunken
from pipeline.report.panel import SCALES, panel
from pipeline.report.render import render
from pipeline.report.run.charts import bin_centres, by_camera, by_depth, training_curves
from pipeline.report.run.cloud import cloud
from pipeline.report.run.contents import Contents, worst_rigs
from pipeline.report.run.tables import (
    PUBLISHED,
    STUDENT,
    camera_table,
    counts_in_words,
    latency_table,
    overlap_table,
    pair_table,
    part_table,
    score_table,
    unscaled,
    worst_table,
)
from pipeline.report.tables import Table
from pipeline.study.table import ABOUT_CROSS_VIEW, TRUTHS
from stages.cache_teacher.sheet import columns
from stages.evaluate.bootstrap import reach
from stages.evaluate.result import Evaluation, Kind, Score
from stages.wording import counted

PARTS: dict[str, tuple[Kind, ...]] = {
    "By depth, place and condition": ("depth", "place", "condition"),
    "By scene": ("scene",),
}
_SECTIONS = {
    "scores": "Scores",
    "cameras": "Cameras",
    "parts": "Depth, place, scene",
    "overlap": "Overlap",
    "space": "In space",
    "rigs": "Rigs",
    "training": "Training",
    "latency": "Latency",
    "settings": "Settings",
}


def page(contents: Contents) -> str:
    """The page's HTML."""
    main, first = contents.main, contents.rigs[0]
    overlap = _overlap(contents)
    latency = contents.latency
    centres = contents.centres_m
    return render(
        "run.html",
        title=contents.name,
        about=about(contents),
        sections=[(anchor, name) for anchor, name in _SECTIONS.items() if overlap or anchor != "overlap"],
        tiles=_tiles(contents),
        protocols=[
            {"name": each.protocol.name, "words": f"Protocol {each.protocol.in_words}", "tables": score_tables(each)}
            for each in contents.evaluations
        ],
        about_scores=about_scores(contents),
        by_camera=by_camera(main),
        camera_table=camera_table(main),
        by_depth=by_depth(main),
        parts=part_tables(main),
        overlap=overlap,
        scales=SCALES,
        cloud=cloud(first),
        cloud_title=first.title,
        about_rigs=f"Errors are relative to the truth. The rigs are those of split {main.split} that were asked for, "
        "and the worst ones by AbsRel at LiDAR points.",
        panels=[
            {"index": seen.index, "panel": panel(seen), "why": shown_because(contents, seen.index)}
            for seen in contents.rigs
        ],
        worst=worst_table(main, {seen.index: f"#rig{seen.index}" for seen in contents.rigs}),
        curves=training_curves(contents.curves) if contents.curves else None,
        centres=None if centres is None else bin_centres(centres, first.dataset.cameras),
        latency=None
        if latency is None
        else {"words": f"{latency.measured}: the student is {latency.in_words}.", "table": latency_table(latency)},
        latency_command=f"fsmde latency --cache {main.cache} --run {contents.run}",
        settings=_settings(contents),
        footer=f"fsmde {main.code_version}",
        plotly=base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode(),
    )


def about(contents: Contents) -> list[str]:
    """What was scored, what it learned from, and how, in a few sentences."""
    main, data, training = contents.main, contents.provenance.data, contents.training
    teacher = "no teacher" if data.teacher is None else f"teacher {data.teacher.identity.id}"
    further = "" if data.unlabelled is None else f" and {data.unlabelled.split.rigs} without LiDAR"
    session = contents.provenance.sessions[-1]
    height, width = contents.rigs[0].rig.images.shape[1:3]
    return [
        f"Scored on {main.dataset} {main.dataset_version}, split {main.split}: {counted(main.rigs, 'rig')} of "
        f"{len(contents.rigs[0].dataset.cameras)} cameras, {width} × {height} pixels.",
        f"Trained on {data.dataset.name} {data.dataset.version}, split {training.split}: "
        f"{counted(data.split.rigs, 'rig')}{further}, {data.image.width} × {data.image.height} pixels, with {teacher}; "
        f"on {session.device}, torch {session.torch_version}, seed {contents.provenance.seed}.",
    ]


def about_scores(contents: Contents) -> str:
    """What was counted, and how the figures of all tables are to be read."""
    scenes = len({part.part for part in contents.main.parts if part.kind == "scene"})
    says = [
        counts_in_words(contents.main),
        "In brackets 95 % intervals over scenes and rigs: what other drives might have shown, not what training again "
        "would.",
    ]
    if otherwise := contents.main.trained_otherwise:
        says.append(f"The student was trained on {'; '.join(otherwise)}.")
    if limits := reach(scenes, contents.main.rigs):
        says.append(limits)
    says.append(
        "Figures are unscaled unless a row says otherwise; SILog is times 100. Teachers have no scale of their own: "
        "they are fitted to the LiDAR of each image, by least squares in disparity, or by medians only."
    )
    if any(line.kind == PUBLISHED for each in contents.evaluations for line in score_table(each, "lidar").lines):
        says.append("Published figures are as the papers print them, not measured here.")
    return " ".join(says)


def score_tables(evaluation: Evaluation) -> list[tuple[str, Table]]:
    """All metrics, by truth."""
    found = [(f"At {name}", score_table(evaluation, truth)) for truth, name in TRUTHS.items()]
    return [(name, table) for name, table in found if table.lines]


def part_tables(evaluation: Evaluation) -> list[tuple[str, Table]]:
    """What it is broken down by."""
    tables = [
        (f"{name} at {truth_name}", part_table(evaluation, kinds, truth))
        for truth, truth_name in TRUTHS.items()
        for name, kinds in PARTS.items()
    ]
    return [(name, table) for name, table in tables if table is not None]


def shown_because(contents: Contents, index: int) -> str:
    """Why a rig is among the pictures."""
    worst = worst_rigs(contents.main)
    place = worst.index(index) if index in worst else None
    if place is None:
        return "chosen"
    return "the worst" if place == 0 else f"number {place + 1} of the worst"


def _tiles(contents: Contents) -> list[tuple[str, str]]:
    """What a reader wants to know first."""
    main = contents.main
    tiles = []
    for truth, name in TRUTHS.items():
        scores = unscaled(main, truth).get(STUDENT)
        if scores is not None:
            tiles += [
                (_figure(scores.mean, "abs_rel"), f"the student's AbsRel at {name}, less is better"),
                (_figure(scores.mean, "delta_1"), f"its δ1 at {name}, more is better"),
            ]
    apart = [s for s in main.cross_view if (s.subject, s.scaling) == (STUDENT, "none")]
    if apart and (rel := apart[-1].consistency_mean.metrics["rel"]) is not None:
        tiles.append((f"{100 * rel:.1f} %", f"disagreement of neighbouring cameras at {TRUTHS[apart[-1].truth]}"))
    if contents.latency is not None:
        factor, _, than = contents.latency.in_words.partition(" times ")
        tiles.append((f"{factor} ×", f"{than} than the teacher"))
    return tiles


def _figure(score: Score, metric: str) -> str:
    value = score.metrics[metric]
    return "–" if value is None else f"{value:.3f}"


def _overlap(contents: Contents) -> dict[str, Any] | None:
    """Table and pictures of what neighbours say of the same places; None where no cameras are adjacent."""
    table, seen = overlap_table(contents.main), contents.rigs[0]
    if table is None:
        return None
    dense = len(seen.truths) > 1
    where = "pixels of which both cameras see the same" if dense else "LiDAR points that lie in a neighbour's image too"
    cameras = seen.dataset.cameras
    return {
        "table": table,
        "about": f"{ABOUT_CROSS_VIEW} The picture is of {seen.title}: {where}, coloured by their disagreement.",
        "cameras": [cameras[view] for view in columns(len(cameras))],
        "image": data_url(in_a_row(shrunken(seen.rig.images, seen.size))),
        "strips": [(name, data_url(in_a_row(error_colours(seen.apart(name))))) for name in seen.predictions],
        "pairs": pair_table(contents.main),
    }


def _settings(contents: Contents) -> Sequence[tuple[str, str]]:
    return [
        *((f"Protocol {each.protocol.name}", each.protocol.model_dump_json(indent=1)) for each in contents.evaluations),
        ("Training", contents.training.model_dump_json(indent=1)),
        ("Where it comes from", contents.provenance.model_dump_json(indent=1)),
    ]
