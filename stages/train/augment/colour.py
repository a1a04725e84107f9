"""A change of colours alone, the same for all views of a rig, so that what two cameras see stays alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_YIQ_FROM_RGB = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""Brightness and two axes of chroma (NTSC, 1953)."""


@dataclass(frozen=True)
class Colour:
    """Chroma times `saturation` and turned by `hue` (in turns); then each channel x in [0, 1] by a curve.

    The curve is (contrast · (brightness · x − ½) + ½)^gamma, cut off at 0 and 1 before the power.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    gamma: float = 1.0

    def __call__(self, image: Image.Image) -> Image.Image:
        """An RGB image in these colours."""
        if (self.saturation, self.hue) != (1.0, 0.0):
            image = image.convert("RGB", self._matrix())
        return image.point(self._curve() * 3)

    def _matrix(self) -> tuple[float, ...]:
        turn = 2 * np.pi * self.hue
        chroma = np.eye(3)
        chroma[1:, 1:] = self.saturation * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = np.linalg.inv(_YIQ_FROM_RGB) @ chroma @ _YIQ_FROM_RGB
        return tuple(np.column_stack([matrix, np.zeros(3)]).ravel().tolist())

    def _curve(self) -> list[int]:
        x = np.arange(256) / 255
        y = np.clip(self.contrast * (self.brightness * x - 0.5) + 0.5, 0, 1) ** self.gamma
        curve: list[int] = np.rint(255 * y).astype(int).tolist()
        return curve
