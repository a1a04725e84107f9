"""A town from its number: where its roads run, and everything that stands beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from stages.cache_teacher.datasets.street import buildings, furniture, traffic
from stages.cache_teacher.datasets.street.ground import Ground, Waves
from stages.cache_teacher.datasets.street.plot import Plot
from stages.cache_teacher.datasets.street.roads import Road, road
from stages.cache_teacher.datasets.street.solids import Builder, Solids
from stages.cache_teacher.datasets.street.style import Style, style_of
from stages.cache_teacher.datasets.street.traffic import Movers
from stages.cache_teacher.datasets.street.weather import Weather, weather_of

BEHIND_M, AHEAD_M = 110.0, 230.0


@dataclass(frozen=True)
class Town:
    """Everything about a town but the car that drives through it."""

    number: int
    ground: Ground
    style: Style
    weather: Weather
    standing: Solids
    movers: Movers
    lamps: torch.Tensor
    """(L, 3) positions of street lamps."""
    square: Plot | None
    speed_mps: float
    """Of the traffic, and of the car with the cameras."""
    lane_left_m: float
    """The lane of the car with the cameras, to the left of the road's centre: it drives on the right."""

    @property
    def main_road(self) -> Road:
        """The road that the car with the cameras follows, from way 0."""
        return self.ground.roads[0]


def build_town(number: int) -> Town:
    """The town with this number, always the same."""
    random = np.random.default_rng([0x57EE7, number])
    style = style_of(random)
    roads = _roads(random)
    ground = Ground(_terrain(random), roads)
    square = _square(random, roads)
    weather = weather_of(random)
    solids = Builder()
    taken: list[Plot] = [square] if square else []
    buildings.line_the_roads(solids, random, ground, style, taken)
    lamps = furniture.put(solids, random, ground, style, square, lit=weather.night)
    speed = float(random.uniform(5.0, 13.0))
    lane = -roads[0].half_width / 2
    if roads[0].parking:
        lane = -(roads[0].half_width - traffic.PARKING_M) / 2
    traffic.park(solids, random, ground)
    movers = traffic.movers(random, ground, lane, speed)
    return Town(
        number=number,
        ground=ground,
        style=style,
        weather=weather,
        standing=solids.solids(),
        movers=movers,
        lamps=lamps,
        square=square,
        speed_mps=speed,
        lane_left_m=lane,
    )


def _terrain(random: np.random.Generator) -> Waves:
    """Slopes of a few per cent in all, flat near the start."""
    steep = float(random.choice([0.003, 0.015, 0.035]))
    lengths = random.uniform([250, 120, 70], [500, 220, 110])
    angles = random.uniform(0, 2 * np.pi, 3)
    k = 2 * np.pi / lengths
    amplitude = steep * np.array([0.6, 0.3, 0.15]) / k
    phase = random.uniform(0, 2 * np.pi, 3)
    rows = np.stack([k * np.cos(angles), k * np.sin(angles), phase, amplitude], axis=1)
    return Waves(torch.from_numpy(rows))


def _roads(random: np.random.Generator) -> tuple[Road, ...]:
    half_width = float(random.choice([3.2, 4.2, 5.5, 7.0]))
    pavement = float(random.uniform(1.8, 4.5))
    marked = bool(random.random() < 0.75)
    parking = bool(random.random() < 0.6) and half_width > 5
    bends = _bends(random)
    shared = {"pavement": pavement, "marked": marked}
    main = road(
        0.0, 0.0, float(random.uniform(-np.pi, np.pi)), bends, -BEHIND_M,
        half_width=half_width, parking=parking, **shared,
    )  # fmt: skip
    roads = [main]
    way = -BEHIND_M + float(random.uniform(15, 70))
    spacing = float(random.uniform(45, 110))
    while way < AHEAD_M - 20:
        crossing = random.random()
        if crossing < 0.75:
            x, y, heading = main.at(way)
            turn = heading + np.pi / 2 + float(random.uniform(-0.25, 0.25))
            narrower = float(random.choice([2.8, 3.5, half_width]))
            side = {"half_width": min(narrower, half_width), "parking": bool(random.random() < 0.4), **shared}
            if crossing < 0.4:  # a crossing; otherwise a road that ends here
                roads.append(road(x, y, turn, [(220.0, 0.0)], -110.0, **side))
            else:
                outward = turn if random.random() < 0.5 else turn + np.pi
                roads.append(road(x, y, outward, [(120.0, 0.0)], 0.0, **side))
        way += spacing * float(random.uniform(0.8, 1.3))
    return tuple(roads)


def _bends(random: np.random.Generator) -> list[tuple[float, float]]:
    if random.random() < 0.35:
        return [(BEHIND_M + AHEAD_M, 0.0)]
    straight = float(random.uniform(20, 80))
    bends = [(BEHIND_M + straight, 0.0)]
    left = AHEAD_M - straight
    while left > 25:
        length = float(min(random.uniform(25, 90), left))
        curvature = float(random.choice([-1, 1]) / random.uniform(45, 220))
        if abs(curvature) * length > 1.2:
            length = 1.2 / abs(curvature)
        bends.append((length, curvature if random.random() < 0.75 else 0.0))
        left -= length
    return [*bends, (left, 0.0)] if left > 0 else bends


def _square(random: np.random.Generator, roads: tuple[Road, ...]) -> Plot | None:
    """An open place beside the main road, in some towns."""
    if random.random() > 0.35:
        return None
    main = roads[0]
    way = float(random.uniform(0, 90))
    depth, length = float(random.uniform(18, 35)), float(random.uniform(20, 45))
    side = float(random.choice([-1, 1]))
    x, y, heading = main.at(way, side * (main.half_width + main.pavement + depth / 2))
    return Plot(float(x), float(y), float(heading), length / 2, depth / 2)
