"""Which frames of a split are used: all, or those that were asked for, with what was left out counted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pydantic import JsonValue

from cache_schema.errors import DatasetError
from stages.cache_teacher.config import NuscenesSettings
from stages.cache_teacher.datasets.base import IncompleteSample, SplitNotes, parted
from stages.cache_teacher.datasets.nuscenes.sample import NuscenesSample
from stages.cache_teacher.datasets.nuscenes.splits import EVALUATION_SPLITS, some
from stages.cache_teacher.datasets.nuscenes.tables import Frame, Tables
from stages.text import UnreadableTextError, decoded


@dataclass(frozen=True)
class Selection:
    """The frames of a split that are used, those that lack something, and what was left out on request."""

    complete: tuple[NuscenesSample, ...]
    incomplete: tuple[IncompleteSample, ...]
    notes: SplitNotes


@dataclass(frozen=True)
class TokenList:
    """Sample tokens, and the SHA-256 of what they are in any order."""

    tokens: frozenset[str]
    sha256: str


def select(tables: Tables, settings: NuscenesSettings) -> dict[str, Selection]:
    """The frames of every split that are used.

    Raises DatasetError where a list of tokens is unreadable or names unknown ones.
    """
    listed = None if settings.tokens is None else _listed(settings.tokens, tables)
    return {split: _select_split(tables, split, settings, listed) for split in tables.splits}


def _select_split(tables: Tables, split: str, settings: NuscenesSettings, listed: TokenList | None) -> Selection:
    used: list[Frame] = []
    standing = unlisted = apart = again = 0
    for scene in tables.splits[split]:
        frames = tables.scenes[scene].frames
        for frame, stands in zip(frames, _stands(frames, settings.static_below_m), strict=True):
            if listed is not None and frame.found.sample not in listed.tokens:
                unlisted += 1
            elif frame.spread_us > settings.spread_s * 1e6:
                apart += 1
            elif frame.repeats:
                again += 1
            elif stands and split not in EVALUATION_SPLITS:
                standing += 1
            else:
                used.append(frame)
    left_out: list[str] = []
    selection: dict[str, JsonValue] = {}
    if settings.between_keyframes:
        widest_s = max((frame.spread_us for frame in used), default=0) / 1e6
        left_out.append(
            f"{apart} whose images are over {settings.spread_s:g} s apart; of the others up to {widest_s:.3f} s"
        )
        left_out.append(f"{again} with an image that the one before has too")
        selection |= {"frames": settings.frames, "spread_s": settings.spread_s}
    if listed is not None:
        left_out.append(f"{unlisted} that {settings.tokens} does not name")
        selection["tokens_sha256"] = listed.sha256
    if settings.static_below_m is not None and split not in EVALUATION_SPLITS:
        left_out.append(f"{standing} where the car moves less than {settings.static_below_m:g} m")
        selection["static_below_m"] = settings.static_below_m
    scenes = [tables.scenes[name] for name in tables.splits[split]]
    notes = SplitNotes(
        left_out=tuple(left_out),
        selection=selection,
        lidar_sweeps=1 if split in EVALUATION_SPLITS else settings.sweeps,
        scene_conditions={scene.name: conditions(scene.description) for scene in scenes},
    )
    complete, incomplete = parted(frame.found for frame in used)
    return Selection(complete, incomplete, notes)


def conditions(description: str) -> tuple[str, ...]:
    """Light and weather of a scene by the words of its description, as the field reads them: `After rain` is rain.

    Day and dry are the default: a description without a word on light or weather, even an empty one, means them.
    """
    said = description.lower()
    return "night" if "night" in said else "day", "rain" if "rain" in said else "dry"


def _stands(frames: Sequence[Frame], below_m: float | None) -> list[bool]:
    """Whether the car moves less than `below_m` from the frame before, or to the next one."""
    stands = [False] * len(frames)
    if below_m is None:
        return stands
    for i, (one, other) in enumerate(pairwise(frames)):
        if one.position_m and other.position_m and math.dist(one.position_m, other.position_m) < below_m:
            stands[i] = stands[i + 1] = True
    return stands


def _listed(path: Path, tables: Tables) -> TokenList:
    """The tokens in a text file, one a line; empty lines and those that begin with # do not count."""
    try:
        lines = [line.strip() for line in decoded(path.read_bytes()).splitlines()]
    except (OSError, UnreadableTextError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); expected sample tokens, one a line") from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    scenes = [tables.scenes[scene] for listed in tables.splits.values() for scene in listed]
    known = {frame.found.sample for scene in scenes for frame in scene.frames}
    unknown = [token for token in tokens if token not in known]
    if not tokens:
        raise DatasetError(f"{path}: names no token; expected sample tokens of this version, one a line")
    if unknown:
        raise DatasetError(
            f"{path}: {len(unknown)} of its {len(tokens)} tokens are not in the dataset ({some(unknown)}); "
            "expected sample tokens of this version, one a line"
        )
    return TokenList(frozenset(tokens), hashlib.sha256("\n".join(sorted(set(tokens))).encode()).hexdigest())
