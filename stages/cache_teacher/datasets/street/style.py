"""What the buildings, gardens and roads of a town have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Style:
    """Colours are linear RGB."""

    downtown: float
    """0: houses with gardens; 1: blocks of flats and offices."""
    facade_hues: np.ndarray
    """(n, 3) linear RGB"""
    roof_hue: np.ndarray
    soil: np.ndarray
    """Colour of what is neither road nor pavement."""
    asphalt: float
    paving: np.ndarray
    trees: float
    """Chance of a tree where one may stand."""
    leaves: np.ndarray


def style_of(random: np.random.Generator) -> Style:
    """Suburb, village, downtown, and what is between."""
    downtown = float(random.beta(0.8, 0.8))
    hues = np.array(
        [(0.55, 0.47, 0.36), (0.42, 0.16, 0.10), (0.60, 0.58, 0.52), (0.30, 0.30, 0.31), (0.50, 0.36, 0.20),
         (0.62, 0.50, 0.42), (0.28, 0.20, 0.15), (0.40, 0.44, 0.46), (0.70, 0.66, 0.56), (0.36, 0.10, 0.08)]
    )  # fmt: skip
    chosen = hues[random.choice(len(hues), int(random.integers(3, 7)), replace=False)]
    return Style(
        downtown=downtown,
        facade_hues=np.clip(chosen * random.uniform(0.7, 1.25) * random.uniform(0.92, 1.08, 3), 0.02, 0.85),
        roof_hue=np.array([(0.30, 0.10, 0.06), (0.12, 0.11, 0.11), (0.20, 0.13, 0.09)])[random.integers(3)],
        soil=_soil(random, downtown),
        asphalt=float(random.uniform(0.035, 0.11)),
        paving=np.array([0.25, 0.24, 0.22]) * random.uniform(0.7, 1.4) * random.uniform(0.93, 1.07, 3),
        trees=float(random.uniform(0.1, 0.9)),
        leaves=np.array([(0.07, 0.14, 0.03), (0.10, 0.15, 0.04), (0.22, 0.12, 0.03), (0.05, 0.11, 0.05)])[
            random.choice(4, p=[0.4, 0.3, 0.15, 0.15])
        ],
    )


def _soil(random: np.random.Generator, downtown: float) -> np.ndarray:
    grass, paved, sand = np.array([0.08, 0.14, 0.04]), np.array([0.22, 0.21, 0.20]), np.array([0.30, 0.24, 0.16])
    if random.random() < downtown * 0.7:
        return paved * random.uniform(0.6, 1.2)
    return (grass if random.random() < 0.8 else sand) * random.uniform(0.7, 1.3)
