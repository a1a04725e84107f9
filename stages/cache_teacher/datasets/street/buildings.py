"""Houses along the roads: blocks with flat roofs, houses with gables, sheds, walls and hedges between them."""

from __future__ import annotations

import numpy as np

from stages.cache_teacher.datasets.street.ground import Ground
from stages.cache_teacher.datasets.street.plot import Plot, clear_of_roads
from stages.cache_teacher.datasets.street.solids import Builder, Material, Shape
from stages.cache_teacher.datasets.street.style import Style

STOREY_M = 3.1
_REACH_M = 75.0
"""How far from the main road side roads are lined."""


def line_the_roads(
    solids: Builder, random: np.random.Generator, ground: Ground, style: Style, taken: list[Plot]
) -> None:
    """Put buildings on both sides of every road, where neither a road nor another plot is; `taken` grows."""
    for number, road in enumerate(ground.roads):
        reach = (road.start, road.end) if number == 0 else (max(road.start, -_REACH_M), min(road.end, _REACH_M))
        for side in (-1.0, 1.0):
            setback = float(random.uniform(0, 0.6) if style.downtown > 0.55 else random.uniform(1.5, 7))
            way = reach[0]
            while way < reach[1]:
                width = float(random.uniform(9, 26) if style.downtown > 0.5 else random.uniform(7, 15))
                depth = float(random.uniform(9, 16))
                edge = road.half_width + road.pavement + setback + float(random.uniform(0, 0.8))
                x, y, heading = road.at(way + width / 2, side * (edge + depth / 2))
                plot = Plot(float(x), float(y), float(heading), width / 2 - 0.05, depth / 2)
                if _free(plot, ground, road.pavement, taken):
                    taken.append(plot)
                    _building(solids, random, ground, style, plot)
                    if setback > 2 and random.random() < 0.7:
                        _front(
                            solids,
                            random,
                            ground,
                            style,
                            road.at(way + width / 2, side * (edge - setback + 0.3)),
                            width,
                        )
                    gap = random.random() < 0.25 + 0.6 * (1 - style.downtown)
                    way += width + float(random.uniform(2, 9) if gap else 0.1)
                else:
                    way += 3.0


def _free(plot: Plot, ground: Ground, pavement: float, taken: list[Plot]) -> bool:
    if not clear_of_roads(ground.roads, plot.points(), min(pavement, 2.0)):
        return False
    return not any(plot.touches(other) for other in taken)


def _building(solids: Builder, random: np.random.Generator, ground: Ground, style: Style, plot: Plot) -> None:
    low = min(ground.height_at(x, y) for x, y in plot.points(3)) - 0.3
    storeys = int(random.integers(2, 9)) if random.random() < style.downtown else int(random.integers(1, 4))
    tall = storeys * STOREY_M + float(random.uniform(0.4, 1.2)) + 0.3
    hue = style.facade_hues[random.integers(len(style.facade_hues))] * random.uniform(0.85, 1.15)
    seed = int(random.integers(1 << 30))
    middle, half = (plot.x, plot.y, low + tall / 2), (plot.half_along, plot.half_across, tall / 2)
    solids.add(middle, half, hue, Material.FACADE, heading=plot.heading, seed=seed)
    roof = style.roof_hue * random.uniform(0.8, 1.25)
    if storeys <= 4 and random.random() < 0.85 - 0.5 * style.downtown:
        _pitched(solids, random, plot, low + tall, roof, seed)
    else:
        _flat(solids, random, plot, low + tall, hue, seed)


def _pitched(solids: Builder, random: np.random.Generator, plot: Plot, top: float, roof: np.ndarray, seed: int) -> None:
    across = random.random() < 0.4
    half = (plot.half_across, plot.half_along) if across else (plot.half_along, plot.half_across)
    rise = float(random.uniform(0.25, 0.6)) * half[1]
    shape = Shape.WEDGE if random.random() < 0.2 else Shape.ROOF
    heading = plot.heading + (np.pi / 2 if across else 0)
    size = (half[0] + 0.35, half[1] + 0.45, rise)
    solids.add((plot.x, plot.y, top + rise), size, roof, Material.ROOF, shape, heading=heading, seed=seed)
    if random.random() < 0.6:
        offset = random.uniform(-0.6, 0.6) * half[0]
        x, y = plot.x + offset * np.cos(heading), plot.y + offset * np.sin(heading)
        solids.add(
            (x, y, top + 1.6 * rise), (0.4, 0.4, 0.6 * rise + 0.7), np.array([0.25, 0.11, 0.08]), heading=heading
        )


def _flat(solids: Builder, random: np.random.Generator, plot: Plot, top: float, hue: np.ndarray, seed: int) -> None:
    rim = (plot.half_along + 0.15, plot.half_across + 0.15, 0.25)
    solids.add((plot.x, plot.y, top), rim, hue * random.uniform(0.5, 1.1), heading=plot.heading)
    if random.random() < 0.6:
        half = (random.uniform(0.15, 0.5) * plot.half_along, random.uniform(0.2, 0.5) * plot.half_across)
        solids.add((plot.x, plot.y, top + 1.2), (*half, 1.4), hue * 0.7, heading=plot.heading, seed=seed)
    if random.random() < 0.35:  # a canopy over the pavement, on both long sides
        solids.add(
            (plot.x, plot.y, top - 0.6),
            (plot.half_along, plot.half_across + 0.9, 0.12),
            hue * 0.6,
            heading=plot.heading,
        )


def _front(
    solids: Builder,
    random: np.random.Generator,
    ground: Ground,
    style: Style,
    place: tuple[float, float, float],
    width: float,
) -> None:
    """A hedge, a wall or a fence between a garden and the pavement."""
    x, y, heading = place
    if not clear_of_roads(ground.roads, Plot(x, y, heading, width / 2, 0.3).points(3), 1.0):
        return
    z = ground.height_at(x, y)
    seed = int(random.integers(1 << 30))
    kind = random.random()
    if kind < 0.4:
        tall = float(random.uniform(0.5, 1.0))
        hue = style.leaves * random.uniform(0.7, 1.1)
        solids.add((x, y, z + tall), (width / 2 - 0.4, 0.35, tall), hue, Material.HEDGE, heading=heading, seed=seed)
    elif kind < 0.7:
        tall = float(random.uniform(0.3, 0.7))
        hue = style.paving * random.uniform(0.7, 1.4)
        solids.add((x, y, z + tall), (width / 2 - 0.2, 0.12, tall), hue, Material.FENCE, heading=heading, seed=seed)
    else:
        hue = np.array([0.5, 0.48, 0.44]) * random.uniform(0.2, 1.4)
        for offset in np.arange(-width / 2 + 0.5, width / 2 - 0.4, 2.0):
            px, py = x + offset * np.cos(heading), y + offset * np.sin(heading)
            solids.add((px, py, z + 0.55), (0.05, 0.05, 0.6), hue, heading=heading)
        for height in (0.35, 0.7, 1.05):
            solids.add((x, y, z + height), (width / 2 - 0.4, 0.03, 0.045), hue, heading=heading)
