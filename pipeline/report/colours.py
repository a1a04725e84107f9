"""Colours that are readable on white and on black alike."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.reproduce.variants import BASELINE, FEWER, SAME_RIGS

INK = "#0a0b0c"
"""Stands for the text colour of the page in charts, which are drawn once for both."""

QUIET = "#8a9099"

RIVAL, BASE, METHOD = "#7d8fa9", "#c08a3e", "#2f9e8f"

_BASELINES = (BASELINE, FEWER)
_METHODS = ("ckd", "vrkd", "ckd_vrkd", SAME_RIGS)


def colour(variant: str) -> str:
    """Colour of a variant: the baseline, the method and its parts, the rivals."""
    if variant in _BASELINES:
        return BASE
    return METHOD if variant in _METHODS else RIVAL


_LINES = (METHOD, "#5b7fc7", "#b45a8d", "#7a9a3a", "#8a6bbf", "#c4532f", "#4a9cc0")


def variant_colours(variants: Iterable[str], baseline: str) -> dict[str, str]:
    """A colour for each variant of a study; beyond eight they come again."""
    return {baseline: BASE} | line_colours(variant for variant in variants if variant != baseline)


def line_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name; beyond seven they come again."""
    return {name: _LINES[number % len(_LINES)] for number, name in enumerate(names)}
