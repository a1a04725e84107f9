"""Charts of a run, as Plotly draws them in the page: data and layout in its JSON, without colours of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from pipeline.report.colours import line_colours
from pipeline.report.curves import Curve
from pipeline.report.run.tables import STUDENT, unscaled
from pipeline.study.table import HEADINGS, TRUTHS
from stages.evaluate.metrics import METRICS
from stages.evaluate.protocol import TruthName
from stages.evaluate.result import Evaluation

LESS_IS_BETTER = ("abs_rel", "sq_rel", "rmse", "rmse_log", "silog")
_HEIGHT = 340
_MARGIN = {"l": 58, "r": 12, "t": 12, "b": 46}


@dataclass(frozen=True)
class Chart:
    """A chart: traces, layout, and what can be chosen to be shown instead of the first figures."""

    name: str
    label: str
    """What it shows, for those who do not see it."""
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    choices: Mapping[str, Any] = field(default_factory=dict)
    """By what a person reads: the traces' values and the title of their axis."""
    caption: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """What the page's script draws."""
        return {"data": list(self.data), "layout": dict(self.layout), "choices": dict(self.choices)}


def by_camera(evaluation: Evaluation) -> Chart:
    """Every metric of every subject, camera by camera."""
    truths = [truth for truth in TRUTHS if unscaled(evaluation, truth)]
    cameras = list(unscaled(evaluation, "lidar")[STUDENT].cameras)
    values = {
        (truth, metric): {
            subject: [scores.cameras[camera].metrics[metric] for camera in cameras]
            for subject, scores in unscaled(evaluation, truth).items()
        }
        for truth in truths
        for metric in METRICS
    }
    return _chosen("by-camera", "bars by camera", "bar", cameras, values, "")


def by_depth(evaluation: Evaluation) -> Chart:
    """Every metric of every subject, by the depth of the truth."""
    found: dict[tuple[TruthName, str], dict[str, list[float | None]]] = {}
    ranges = list(dict.fromkeys(part.part for part in evaluation.parts if part.kind == "depth"))
    for truth in TRUTHS:
        subjects = unscaled(evaluation, truth)
        of = {(p.subject, p.part): p for p in evaluation.parts if (p.kind, p.truth) == ("depth", truth)}
        for metric in METRICS if subjects else ():
            found[truth, metric] = {
                subject: [of[subject, part].metrics[metric] if (subject, part) in of else None for part in ranges]
                for subject in subjects
            }
    return _chosen("by-depth", "lines by range of depth", "scatter", ranges, found, "depth of the truth")


def training_curves(curves: Mapping[str, Curve]) -> Chart:
    """Every loss of a run over its steps."""
    colours = line_colours(curves)
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": curve.steps,
            "y": [_number(value) for value in curve.values],
            "line": {"width": 2, "color": colours[name]},
        }
        for name, curve in curves.items()
    ]
    layout = _layout("step", "") | {"yaxis": _logarithmic("loss")}
    caption = "Smoothed; press a name to hide its line."
    return Chart("training-curves", "losses over the steps of training", data, layout, caption=caption)


def bin_centres(centres_m: Float[np.ndarray, "V K"], cameras: Sequence[str]) -> Chart:
    """Where each camera's bins lie on one rig, from the farthest to the nearest."""
    colours = line_colours(cameras)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": camera,
            "x": list(range(len(centres))),
            "y": [_number(value) for value in centres],
            "marker": {"size": 4},
            "line": {"width": 1.5, "color": colours[camera]},
        }
        for camera, centres in zip(cameras, centres_m.tolist(), strict=True)
    ]
    layout = _layout("bin", "") | {"yaxis": _logarithmic("depth of its centre (m)")}
    return Chart("bin-centres", "depth of the bin centres by camera", data, layout)


def _chosen(
    name: str,
    label: str,
    kind: str,
    places: Sequence[str],
    values: Mapping[tuple[TruthName, str], Mapping[str, Sequence[float | None]]],
    axis: str,
) -> Chart:
    """A trace for each subject, of the first truth and metric; all others can be chosen."""
    choices: dict[str, dict[str, Any]] = {
        f"{HEADINGS[metric]} at {TRUTHS[truth]}": {
            "y": [[_number(value) for value in of] for of in subjects.values()],
            "title": f"{HEADINGS[metric]}, {'less' if metric in LESS_IS_BETTER else 'more'} is better",
        }
        for (truth, metric), subjects in values.items()
    }
    first = next(iter(values.values()))
    title = str(next(iter(choices.values()))["title"])
    colours = line_colours(first)
    data = []
    for subject, of in first.items():
        style = {"marker": {"color": colours[subject]}} if kind == "bar" else {"line": {"color": colours[subject]}}
        y = [_number(value) for value in of]
        data.append({"type": kind, "name": subject, "x": list(places), "y": y, **style})
    return Chart(name, label, data, _layout(axis, title), choices)


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "height": _HEIGHT,
        "margin": _MARGIN,
        "xaxis": {"title": {"text": x, "standoff": 12}, "automargin": True},
        "yaxis": {"title": {"text": y}, "rangemode": "tozero", "automargin": True},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02},
        "bargap": 0.25,
    }


def _logarithmic(title: str) -> dict[str, Any]:
    """An axis with ticks at 1, 2 and 5 times the powers of ten."""
    ticks = [float(f"{digit}e{power}") for power in range(-5, 5) for digit in (1, 2, 5)]
    return {
        "type": "log",
        "title": {"text": title},
        "automargin": True,
        "tickvals": ticks,
        "ticktext": [f"{t:g}" for t in ticks],
    }


def _number(value: float | None) -> float | None:
    """Four digits are enough to draw."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.4g}")
