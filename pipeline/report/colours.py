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
