"""Colours that are readable on white and on black alike."""

from __future__ import annotations

from pipeline.reproduce.variants import BASELINE, SAME_RIGS

INK = "#0a0b0c"
"""Stands for the text colour of the page in charts, which are drawn once for both."""

QUIET = "#8a9099"

RIVAL, BASE, METHOD = "#7d8fa9", "#c08a3e", "#2f9e8f"

_METHODS = ("ckd", "vrkd", "ckd_vrkd", SAME_RIGS)


def colour(variant: str) -> str:
    """Colour of a variant: the baseline, the method and its parts, the rivals."""
    if variant == BASELINE:
        return BASE
    return METHOD if variant in _METHODS else RIVAL


_LINES = ("#2f9e8f", "#c08a3e", "#5b7fc7", "#b45a8d", "#7a9a3a", "#8a6bbf", "#c4532f", "#4a9cc0")


def line_colours(count: int) -> list[str]:
    """Colours of so many lines; beyond eight they come again."""
    return [_LINES[number % len(_LINES)] for number in range(count)]
