"""What moves or could: cars, vans, trucks, buses, pedestrians, and the car that carries the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.cache_teacher.datasets.street.ground import KERB_M, Ground
from stages.cache_teacher.datasets.street.plot import clear_of_roads
from stages.cache_teacher.datasets.street.roads import Road
from stages.cache_teacher.datasets.street.solids import Builder, Material, Shape, Solids, joined, upright_pose

PARKING_M = 2.1
_TYRE = np.array([0.015, 0.015, 0.016])
_PAINTS = np.array(
    [(0.55, 0.55, 0.56), (0.02, 0.02, 0.025), (0.70, 0.70, 0.70), (0.16, 0.17, 0.18), (0.30, 0.02, 0.02),
     (0.02, 0.06, 0.22), (0.32, 0.33, 0.33), (0.05, 0.10, 0.06), (0.45, 0.33, 0.10), (0.08, 0.20, 0.32)]
)  # fmt: skip
_CLOTHES = np.array([(0.05, 0.06, 0.10), (0.35, 0.05, 0.05), (0.30, 0.30, 0.28), (0.06, 0.14, 0.30), (0.10, 0.22, 0.09),
                     (0.45, 0.38, 0.12), (0.02, 0.02, 0.02)])  # fmt: skip


@dataclass(frozen=True)
class Mover:
    """Something that follows a road at constant speed. `solids` stand at the origin, facing along x."""

    solids: Solids
    road: Road
    way_m: float
    """At time 0."""
    left_m: float
    """Of the road's centre."""
    speed_mps: float
    """Along the road; negative: against its direction."""
    raised_m: float

    def pose(self, seconds: float, ground: Ground) -> np.ndarray:
        """world_from_mover (4, 4) at a time."""
        way = self.way_m + self.speed_mps * seconds
        x, y, heading = self.road.at(way, self.left_m)
        turn = heading if self.speed_mps >= 0 else heading + np.pi
        return upright_pose(x, y, ground.height_at(x, y) + self.raised_m, turn)


@dataclass(frozen=True)
class Movers:
    """All that moves in a town, with the solids of everyone in one table."""

    each: tuple[Mover, ...]
    solids: Solids
    owner: np.ndarray
    """(P,) index of the mover that a solid belongs to."""

    @classmethod
    def of(cls, each: Sequence[Mover]) -> Movers:
        """Put movers together."""
        solids = joined([Builder().solids(), *(mover.solids for mover in each)])
        return cls(tuple(each), solids, np.repeat(np.arange(len(each)), [len(mover.solids) for mover in each]))

    def at(self, seconds: float, ground: Ground) -> Solids:
        """Their solids at a time."""
        poses = np.array([mover.pose(seconds, ground) for mover in self.each]).reshape(-1, 4, 4)
        return self.solids.placed(poses[self.owner])


def vehicle(random: np.random.Generator) -> tuple[Solids, float]:
    """Any vehicle of the street, and its length in metres."""
    kind = random.choice(["car", "estate", "van", "truck", "bus"], p=[0.52, 0.22, 0.14, 0.08, 0.04])
    paint = _PAINTS[random.integers(len(_PAINTS))] * random.uniform(0.8, 1.2)
    seed = int(random.integers(1 << 30))
    solids = Builder()
    if kind in ("car", "estate"):
        length, width = float(random.uniform(3.9, 4.8)), float(random.uniform(1.7, 1.86))
        car_body(solids, length, width, paint, seed, estate=kind == "estate")
    elif kind == "van":
        length, width = float(random.uniform(4.8, 5.8)), 1.95
        tall = float(random.uniform(1.9, 2.5))
        solids.add(
            (0, 0, 0.35 + tall / 2), (length / 2, width / 2, tall / 2), paint, Material.CABIN, Shape.TAPERED, seed=seed
        )
        solids.add((0.1, 0, 0.72), (length / 2 + 0.1, width / 2, 0.4), paint, Material.CAR, seed=seed)
        _wheels(solids, 0.32 * length, width, 0.34)
    elif kind == "truck":
        length, width = float(random.uniform(6.5, 10.0)), 2.4
        cargo = np.array([0.6, 0.6, 0.58]) if random.random() < 0.5 else paint
        solids.add((-1.0, 0, 2.1), (length / 2 - 1.1, width / 2, 1.35), cargo, Material.CARGO, seed=seed)
        solids.add(
            (length / 2 - 1.0, 0, 1.65), (1.0, width / 2 - 0.08, 1.2), paint, Material.CABIN, Shape.TAPERED, seed=seed
        )
        solids.add((0, 0, 0.65), (length / 2, 0.9, 0.18), np.array([0.05, 0.05, 0.05]))
        _wheels(solids, 0.34 * length, width, 0.48)
    else:
        length, width = 11.0, 2.5
        solids.add((0, 0, 1.75), (length / 2, width / 2, 1.4), paint * 1.2, Material.CABIN, seed=seed)
        _wheels(solids, 0.3 * length, width, 0.48)
    return solids.solids(), length


def car_body(
    solids: Builder, length: float, width: float, paint: np.ndarray, seed: int, *, estate: bool = False
) -> None:
    """A car at the origin, facing along x."""
    solids.add((0, 0, 0.62), (length / 2, width / 2, 0.33), paint, Material.CAR, seed=seed)
    cabin, back = (0.33 * length, -0.12 * length) if estate else (0.27 * length, -0.05 * length)
    solids.add((back, 0, 1.2), (cabin, width / 2 - 0.04, 0.28), paint, Material.CABIN, Shape.TAPERED, seed=seed)
    _wheels(solids, 0.31 * length, width, 0.31)


def _wheels(solids: Builder, axle: float, width: float, radius: float) -> None:
    for x in (-axle, axle):
        for y in (-1, 1):
            where = (x, y * (width / 2 - 0.1), radius)
            solids.add(where, (radius, radius, 0.13), _TYRE, Material.TYRE, Shape.CYLINDER, lying=True)


def pedestrian(random: np.random.Generator) -> Solids:
    """Somebody, facing along x."""
    solids = Builder()
    tall = float(random.normal(1.7, 0.1))
    coat, trousers = _CLOTHES[random.integers(len(_CLOTHES), size=2)] * random.uniform(0.7, 1.3)
    stride = float(random.uniform(0.05, 0.22))
    for side in (-1, 1):
        solids.add(
            (side * stride, side * 0.09, 0.24 * tall), (0.085, 0.085, 0.25 * tall), trousers, shape=Shape.CYLINDER
        )
        solids.add((-side * stride, side * 0.24, 0.62 * tall), (0.055, 0.055, 0.17 * tall), coat, shape=Shape.CYLINDER)
    solids.add((0, 0, 0.65 * tall), (0.15, 0.22, 0.19 * tall), coat, shape=Shape.ELLIPSOID)
    skin = np.array([0.45, 0.28, 0.20]) * random.uniform(0.3, 1.2)
    solids.add((0, 0, 0.925 * tall), (0.1, 0.09, 0.075 * tall), skin, shape=Shape.ELLIPSOID)
    return solids.solids()


def park(solids: Builder, random: np.random.Generator, ground: Ground) -> None:
    """Parked vehicles along the kerbs of the roads that have room for them."""
    for number, road in enumerate(ground.roads):
        if not road.parking:
            continue
        reach = (road.start, road.end) if number == 0 else (max(road.start, -50.0), min(road.end, 50.0))
        for side in (-1.0, 1.0):
            full = float(random.uniform(0.15, 0.95))
            way = reach[0]
            while way < reach[1]:
                way += float(random.uniform(5.6, 6.6))
                x, y, heading = road.at(way, side * (road.half_width - PARKING_M / 2))
                if random.random() > full or not _only_here(ground, road, x, y):
                    continue
                parked, length = vehicle(random)
                if length > 6:
                    continue
                turn = heading if (side < 0) == (random.random() < 0.9) else heading + np.pi
                jitter = float(random.normal(0, 0.02))
                _keep(solids, parked.moved(float(x), float(y), ground.height_at(x, y), float(turn + jitter)))


def movers(random: np.random.Generator, ground: Ground, own_lane_left_m: float, own_speed_mps: float) -> Movers:
    """Traffic on all roads and people on their pavements. The lane of the car with the cameras moves with it."""
    found: list[Mover] = []
    main = ground.roads[0]
    density = float(random.uniform(0.2, 1.0))
    for ahead in (1.0, -1.0):  # in the own lane, before and behind
        way = ahead * float(random.uniform(11, 40))
        while abs(way) < 100 and random.random() < 0.35 + 0.5 * density:
            solids, length = vehicle(random)
            found.append(Mover(solids, main, way, own_lane_left_m, own_speed_mps, 0.0))
            way += ahead * (length + float(random.uniform(6, 40)))
    for number, road in enumerate(ground.roads):
        for direction in (1.0, -1.0):
            if number == 0 and direction > 0:
                continue
            lane = -own_lane_left_m if number == 0 else -direction * (road.half_width - PARKING_M * road.parking) / 2
            speed = direction * float(random.uniform(3, 13))
            way = road.start + float(random.uniform(0, 60))
            while way < road.end and (number == 0 or random.random() < 0.5 * density):
                solids, length = vehicle(random)
                if number == 0 or _off_the_main_road(ground, road, way):
                    found.append(Mover(solids, road, way, lane, speed if number == 0 else 0.0 * direction, 0.0))
                way += length + float(random.uniform(8, 70) / density)
    for road in ground.roads:
        for _ in range(int(random.integers(0, 14 if road is main else 4))):
            side = float(random.choice([-1, 1]))
            left = side * (road.half_width + float(random.uniform(0.5, 0.95)) * road.pavement)
            way = float(random.uniform(max(road.start, -60), min(road.end, 120)))
            speed = float(random.choice([-1, 1]) * random.uniform(0.0, 1.7))
            found.append(Mover(pedestrian(random), road, way, left, speed, KERB_M))
    return Movers.of(found)


def own_car(random: np.random.Generator) -> Solids:
    """The car that carries the cameras, in the rig frame: at the ground below the LiDAR's turn axis."""
    solids = Builder()
    paint = _PAINTS[random.integers(len(_PAINTS))]
    length = float(random.uniform(4.3, 4.9))
    car_body(solids, length, 1.84, paint, int(random.integers(1 << 30)))
    return solids.solids()


def _only_here(ground: Ground, road: Road, x: float, y: float) -> bool:
    others = [other for other in ground.roads if other is not road]
    return not others or clear_of_roads(others, np.array([(x, y)]), 4.0)


def _off_the_main_road(ground: Ground, road: Road, way: float) -> bool:
    x, y, _ = road.at(way)
    return clear_of_roads(ground.roads[:1], np.array([(x, y)]), 5.0)


def _keep(solids: Builder, found: Solids) -> None:
    for k in range(len(found)):
        solids.rows.append(
            (
                found.centre[k].tolist(), found.axes[k].tolist(), found.half[k].tolist(), int(found.shape[k]),
                int(found.material[k]), found.colour[k].tolist(), int(found.seed[k]), float(found.glow[k]),
            )
        )  # fmt: skip
