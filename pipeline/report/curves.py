"""Training curves, as TensorBoard keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@dataclass(frozen=True)
class Curve:
    """A named figure of one run over its steps."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


def read_curves(folder: Path) -> dict[str, Curve]:
    """All curves of a run, by name; none where there is no folder."""
    if not folder.exists():
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for name in events.Tags()["scalars"]:
        points = events.Scalars(name)
        curves[name] = Curve(tuple(point.step for point in points), tuple(point.value for point in points))
    return curves


def read_curve(folder: Path, name: str) -> Curve:
    """A curve of a run; empty where it was not drawn."""
    return read_curves(folder).get(name, Curve((), ()))


def smoothed(curve: Curve, points: int = 60, width: int = 3) -> Curve:
    """At most `points` means of neighbouring values, each over `width` times the distance between them."""
    count = len(curve.steps)
    if count <= 2:
        return curve
    stride = max(count // points, 1)
    reach = stride * width // 2 + 1
    places = range(0, count, stride)
    means = [_mean(curve.values[max(place - reach, 0) : place + reach + 1]) for place in places]
    return Curve(tuple(curve.steps[place] for place in places), tuple(means))


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)
