"""Light and air: sun or night, clouds, haze, rain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Weather:
    """Colours are linear RGB, 1 about white in the sun."""

    night: bool
    sun: tuple[float, float, float]
    """Unit vector towards the sun or the moon."""
    sun_colour: tuple[float, float, float]
    sky_colour: tuple[float, float, float]
    """Overhead."""
    horizon_colour: tuple[float, float, float]
    ambient: float
    """Light from all of the sky."""
    clouds: float
    """Share of the sky they cover."""
    visibility_m: float
    """Way on which haze takes all but 1/e of the contrast."""
    rain: float
    wet: float
    """How much darker and smoother the road is."""
    headlights: float


def weather_of(random: np.random.Generator) -> Weather:
    """Day, dusk, overcast, rain or night."""
    azimuth = float(random.uniform(-np.pi, np.pi))
    kind = random.choice(["clear", "overcast", "dusk", "rain", "night"], p=[0.45, 0.22, 0.13, 0.1, 0.1])
    elevation = {"clear": random.uniform(0.35, 1.2), "dusk": random.uniform(0.1, 0.3)}.get(str(kind), 0.9)
    sun = (
        float(np.cos(elevation) * np.cos(azimuth)),
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.sin(elevation)),
    )
    warmth = float(random.uniform(0, 0.12))
    clear = {
        "sun_colour": (1.0, 0.95 - warmth / 2, 0.86 - warmth),
        "sky_colour": (0.20, 0.38, 0.75),
        "horizon_colour": (0.62, 0.72, 0.86),
        "ambient": float(random.uniform(0.32, 0.48)),
        "clouds": float(random.uniform(0, 0.5)),
        "visibility_m": float(random.uniform(250, 1200)),
        "rain": 0.0,
        "wet": 0.0,
        "headlights": 0.0,
    }
    grey = {**clear, "sun_colour": (0.06, 0.06, 0.06), "sky_colour": (0.55, 0.58, 0.62), "clouds": 0.9,
            "horizon_colour": (0.70, 0.72, 0.74), "ambient": float(random.uniform(0.55, 0.8)),
            "visibility_m": float(random.uniform(120, 500))}  # fmt: skip
    rain = {**grey, "ambient": float(random.uniform(0.4, 0.6)), "rain": float(random.uniform(0.3, 1.0)), "wet": 0.55,
            "visibility_m": float(random.uniform(80, 220)), "headlights": 0.15}  # fmt: skip
    dusk = {**clear, "sun_colour": (1.0, 0.62, 0.32), "sky_colour": (0.22, 0.28, 0.50), "ambient": 0.28,
            "horizon_colour": (0.85, 0.55, 0.38), "headlights": 0.1}  # fmt: skip
    night = {**clear, "sun_colour": (0.010, 0.012, 0.018), "sky_colour": (0.006, 0.008, 0.016), "ambient": 0.018,
             "horizon_colour": (0.030, 0.028, 0.026), "clouds": 0.2, "visibility_m": 400.0, "headlights": 1.0,
             "wet": float(random.random() < 0.3) * 0.5}  # fmt: skip
    chosen = {"clear": clear, "overcast": grey, "rain": rain, "dusk": dusk, "night": night}[str(kind)]
    return Weather(night=kind == "night", sun=sun, **chosen)  # type: ignore[arg-type]
