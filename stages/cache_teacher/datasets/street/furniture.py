"""What stands on pavements, squares and in gardens: trees, lamps, signs, lights, poles, benches, shelters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from stages.cache_teacher.datasets.street.ground import KERB_M, Ground
from stages.cache_teacher.datasets.street.plot import Plot, clear_of_roads
from stages.cache_teacher.datasets.street.roads import Road
from stages.cache_teacher.datasets.street.solids import Builder, Material, Shape
from stages.cache_teacher.datasets.street.style import Style

METAL = np.array([0.16, 0.17, 0.18])
SIGNS = np.array([(0.55, 0.02, 0.02), (0.02, 0.10, 0.45), (0.60, 0.42, 0.02), (0.02, 0.25, 0.08), (0.60, 0.60, 0.60)])
_REACH_M = 60.0
Place = tuple[float, float, float]
"""x, y and heading, whose left is away from the road; or x, y, z."""


def put(
    solids: Builder, random: np.random.Generator, ground: Ground, style: Style, square: Plot | None, *, lit: bool
) -> torch.Tensor:
    """Furnish all roads and the square; returns the positions (L, 3) of the street lamps' lights."""
    furnisher = _Furnisher(solids, random, ground, style, lit)
    for number, road in enumerate(ground.roads):
        reach = (road.start, road.end) if number == 0 else (max(road.start, -_REACH_M), min(road.end, _REACH_M))
        for side in (-1.0, 1.0):
            furnisher.line(road, side, reach)
    if square is not None:
        furnisher.furnish_square(square)
    furnisher.plant_gardens()
    return torch.tensor(furnisher.lamps, dtype=torch.float32).reshape(-1, 3)


@dataclass
class _Furnisher:
    solids: Builder
    random: np.random.Generator
    ground: Ground
    style: Style
    lit: bool
    lamps: list[Place] = field(default_factory=list)

    def line(self, road: Road, side: float, reach: tuple[float, float]) -> None:
        """Rows of things along one kerb, each at a spacing of its own."""
        for stand, spacing in self._rows():
            way = reach[0] + self._between(0, spacing)
            while way < reach[1]:
                kept_back = min(0.3 * road.pavement, 0.6)
                if stand == self._small_thing:
                    kept_back = self._between(0.5, 0.9) * road.pavement
                x, y, heading = road.at(way, side * (road.half_width + kept_back))
                if clear_of_roads(self.ground.roads, np.array([(x, y)]), 0.25):
                    stand((float(x), float(y), float(heading if side > 0 else heading + np.pi)))
                way += spacing * self._between(0.8, 1.25)

    def _rows(self) -> list[tuple[Callable[[Place], None], float]]:
        rows: list[tuple[Callable[[Place], None], float]] = [
            (self._lamp, self._between(22, 38)),
            (self._sign, self._between(25, 70)),
        ]
        if self.random.random() < self.style.trees:
            rows.append((self._street_tree, self._between(8, 22)))
        if self.random.random() < 0.5:
            rows.append((self._bollard, self._between(3, 12)))
        if self.random.random() < 0.6:
            rows.append((self._small_thing, self._between(12, 40)))
        if self.random.random() < 0.25:
            rows.append((self._wire_pole, self._between(28, 40)))
        return rows

    def _between(self, low: int | float, high: int | float) -> float:
        return float(self.random.uniform(low, high))

    def _seed(self) -> int:
        return int(self.random.integers(1 << 30))

    def _base(self, x: float, y: float) -> float:
        return self.ground.height_at(x, y) + KERB_M

    def _pole(self, x: float, y: float, z: float, tall: float, radius: float, hue: np.ndarray) -> None:
        self.solids.add((x, y, z + tall / 2 - 0.1), (radius, radius, tall / 2 + 0.1), hue, shape=Shape.CYLINDER)

    def _lamp(self, place: Place) -> None:
        x, y, heading = place
        z, tall = self._base(x, y), self._between(5.5, 8.5)
        self._pole(x, y, z, tall, 0.08, METAL)
        reach = self._between(0.6, 1.8)
        over = (x + np.sin(heading) * reach, y - np.cos(heading) * reach)
        middle = ((x + over[0]) / 2, (y + over[1]) / 2, z + tall)
        self.solids.add(middle, (reach / 2, 0.05, 0.05), METAL, heading=heading + np.pi / 2)
        self.solids.add((*over, z + tall - 0.08), (0.35, 0.14, 0.07), np.array([0.7, 0.65, 0.5]), Material.LAMP,
                   heading=heading + np.pi / 2, glow=6.0 if self.lit else 0.0)  # fmt: skip
        self.lamps.append((float(over[0]), float(over[1]), float(z + tall - 0.2)))

    def _sign(self, place: Place) -> None:
        x, y, heading = place
        z, tall = self._base(x, y), self._between(2.2, 3.2)
        self._pole(x, y, z, tall, 0.04, METAL * 1.5)
        hue = SIGNS[self.random.integers(len(SIGNS))]
        seed = self._seed()
        across = heading + np.pi / 2  # a driver sees the plate's face
        if self.random.random() < 0.5:
            half = (self._between(0.25, 0.4), 0.03, self._between(0.25, 0.45))
            self.solids.add((x, y, z + tall - 0.1), half, hue, Material.SIGN, heading=across, seed=seed)
        elif self.random.random() < 0.5:  # traffic light
            self.solids.add((x, y, z + tall), (0.16, 0.16, 0.48), np.array([0.03, 0.03, 0.03]), heading=across)
            lights = np.array([(0.8, 0.02, 0.02), (0.7, 0.4, 0.02), (0.03, 0.6, 0.2)])
            on = int(self.random.integers(3))
            for k in range(3):
                hue = lights[k] if k == on else lights[k] * 0.08
                self.solids.add(
                    (x, y, z + tall + 0.3 - 0.3 * k), (0.1, 0.2, 0.1), hue, heading=across, glow=2.0 * (k == on)
                )
        else:
            radius = self._between(0.28, 0.38)
            self.solids.add(
                (x, y, z + tall),
                (radius, radius, 0.03),
                hue,
                Material.SIGN,
                Shape.CYLINDER,
                heading=across,
                lying=True,
                seed=seed,
            )

    def _street_tree(self, place: Place) -> None:
        x, y, _ = place
        if self.random.random() < 0.85:
            self._tree(x, y, self._base(x, y), 3.5, 9)

    def _bollard(self, place: Place) -> None:
        x, y, _ = place
        hue = METAL if self.random.random() < 0.6 else np.array([0.5, 0.05, 0.04])
        self._pole(x, y, self._base(x, y), self._between(0.7, 1.0), 0.08, hue)

    def _wire_pole(self, place: Place) -> None:
        x, y, heading = place
        z = self._base(x, y)
        bark = np.array([0.13, 0.09, 0.06])
        self._pole(x, y, z, 8.5, 0.13, bark)
        self.solids.add((x, y, z + 7.8), (0.9, 0.06, 0.06), bark, heading=heading + np.pi / 2)

    def _small_thing(self, place: Place) -> None:
        x, y, heading = place
        z, kind = self._base(x, y), self.random.random()
        if kind < 0.3:  # a bin
            hue = np.array([0.05, 0.14, 0.07]) * self.random.uniform(0.5, 2.0)
            self.solids.add((x, y, z + 0.5), (0.28, 0.28, 0.5), hue, shape=Shape.CYLINDER)
        elif kind < 0.55:  # a bench
            wood = np.array([0.26, 0.15, 0.08])
            self.solids.add((x, y, z + 0.45), (0.8, 0.22, 0.04), wood, heading=heading)
            back = (x - 0.25 * np.sin(heading), y + 0.25 * np.cos(heading), z + 0.75)
            self.solids.add(back, (0.8, 0.04, 0.22), wood, heading=heading)
            for end in (-0.6, 0.6):
                leg = (x + end * np.cos(heading), y + end * np.sin(heading), z + 0.2)
                self.solids.add(leg, (0.05, 0.2, 0.25), METAL, heading=heading)
        elif kind < 0.75:  # a cabinet
            hue = np.array([0.33, 0.35, 0.33]) * self.random.uniform(0.4, 1.5)
            half = (self._between(0.3, 0.9), 0.22, self._between(0.45, 0.8))
            self.solids.add((x, y, z + half[2]), half, hue, Material.FENCE, heading=heading, seed=self._seed())
        else:  # a shelter
            for end in (-1.7, 1.7):
                side = (x + end * np.cos(heading), y + end * np.sin(heading), z + 1.2)
                self.solids.add(side, (0.04, 0.6, 1.2), METAL * 1.2, heading=heading)
            wall = (x - 0.6 * np.sin(heading), y + 0.6 * np.cos(heading), z + 1.2)
            self.solids.add(
                wall,
                (1.7, 0.03, 1.0),
                np.array([0.10, 0.13, 0.14]),
                Material.SIGN,
                heading=heading,
                seed=self._seed(),
            )
            self.solids.add((x, y, z + 2.45), (1.9, 0.8, 0.07), METAL, heading=heading)

    def furnish_square(self, square: Plot) -> None:
        """Trees, benches and perhaps a fountain."""
        points = square.points(5)
        for x, y in points[self.random.permutation(len(points))[: int(self.random.integers(4, 10))]]:
            z = self.ground.height_at(float(x), float(y)) + KERB_M
            kind = self.random.random()
            if kind < 0.6:
                self._tree(float(x), float(y), z, 4, 9)
            else:
                self._small_thing((float(x), float(y), square.heading))
        if self.random.random() < 0.6:  # a fountain or a statue
            z = self.ground.height_at(square.x, square.y) + KERB_M
            stone = self.style.paving * 1.3
            self.solids.add((square.x, square.y, z + 0.3), (2.5, 2.5, 0.35), stone, shape=Shape.CYLINDER)
            self.solids.add((square.x, square.y, z + 1.4), (0.5, 0.5, 1.4), stone * 0.8)
            self.solids.add((square.x, square.y, z + 3.3), (0.35, 0.35, 0.9), METAL, shape=Shape.ELLIPSOID)

    def plant_gardens(self) -> None:
        """Trees and shrubs behind and between the houses."""
        main = self.ground.roads[0]
        for _ in range(int(90 * (1 - 0.75 * self.style.downtown) * (0.4 + self.style.trees))):
            way, side = self._between(main.start, main.end), float(self.random.choice([-1, 1]))
            off = main.half_width + main.pavement + self._between(1.0, 32)
            x, y, _ = main.at(way, side * off)
            if not clear_of_roads(self.ground.roads, np.array([(x, y)]), 2.5):
                continue
            z = self.ground.height_at(float(x), float(y))
            if self.random.random() < 0.6:
                self._tree(float(x), float(y), z, 3, 10)
            else:
                half = (self._between(0.5, 1.4), self._between(0.5, 1.4), self._between(0.5, 1.4))
                hue = self.style.leaves * self._between(0.7, 1.2)
                self.solids.add((x, y, z + 0.5), half, hue, Material.LEAVES, Shape.ELLIPSOID, seed=self._seed())

    def _tree(self, x: float, y: float, z: float, lowest: int | float, tallest: int | float) -> None:
        """Round, tall or a conifer, with its foot at (x, y, z)."""
        tall = self._between(lowest, tallest)
        trunk = max(0.08, 0.03 * tall)
        bark = np.array([0.16, 0.11, 0.07]) * self._between(0.6, 1.3)
        self.solids.add((x, y, z + 0.27 * tall), (trunk, trunk, 0.3 * tall), bark, Material.BARK, Shape.CYLINDER)
        hue = self.style.leaves * self._between(0.65, 1.3) * self.random.uniform(0.9, 1.1, 3)
        if self.random.random() < 0.2:
            for k in range(4):
                half = (tall * (0.26 - 0.055 * k), tall * (0.26 - 0.055 * k), 0.17 * tall)
                self._foliage((x, y, z + tall * (0.3 + 0.2 * k)), half, hue, Shape.WEDGE)
            return
        spread = tall * self._between(0.2, 0.34)
        for _ in range(int(self.random.integers(4, 8))):
            dx, dy, dz = (self.random.normal(0, 0.42, 3) * spread).tolist()
            a, b, c = (spread * self.random.uniform(0.45, 0.85, 3)).tolist()
            middle = (x + dx, y + dy, z + 0.68 * tall + dz)
            self._foliage(middle, (a, b, c), hue * self._between(0.8, 1.2), Shape.ELLIPSOID)

    def _foliage(self, middle: Place, half: Place, hue: np.ndarray, shape: Shape) -> None:
        self.solids.add(middle, half, hue, Material.LEAVES, shape, heading=self._between(0, 3), seed=self._seed())
