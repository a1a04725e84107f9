"""Who a teacher is, told from its files without loading its weights into a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from cache_schema import TeacherIdentity, TeacherKind
from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers.checkpoint import Checkpoint, find_checkpoint
from stages.cache_teacher.teachers.kind import teacher_kind
from stages.cache_teacher.teachers.network import load_config, network_class
from stages.cache_teacher.teachers.preprocess import Preprocessor, load_preprocessor

PRECISIONS: tuple[str, ...] = get_args(TeacherIdentity.model_fields["precision"].annotation)


@dataclass(frozen=True)
class IdentifiedTeacher:
    """All of a teacher but its network: its files, its transformers config, its preprocessor, who it is."""

    checkpoint: Checkpoint
    config: Any
    preprocess: Preprocessor
    identity: TeacherIdentity


def identify_teacher(
    name_or_path: str,
    *,
    revision: str | None = None,
    kind: TeacherKind | None = None,
    flip: bool = True,
    scales: Sequence[int | float] = (1.0,),
    precision: str = "float32",
) -> TeacherIdentity:
    """The identity that `load_teacher` would give its teacher; the weight files are hashed, not loaded.

    Arguments as of `load_teacher`. A hub model that is not on this machine is downloaded.

    Raises TeacherError for a model that is missing, no depth model, or not usable with these settings. Damaged
    weights are only noticed by `load_teacher`.
    """
    return identified(name_or_path, revision, kind, flip, scales, precision).identity


def identified(
    name_or_path: str,
    revision: str | None,
    kind: TeacherKind | None,
    flip: bool,
    scales: Sequence[int | float],
    precision: str,
) -> IdentifiedTeacher:
    """What `identify_teacher` found out on its way, for loading. Raises TeacherError."""
    _check_settings(scales, precision)
    checkpoint = find_checkpoint(name_or_path, revision)
    config = load_config(checkpoint)
    preprocess = load_preprocessor(config, checkpoint.processor, scales)
    identity = TeacherIdentity(
        id=checkpoint.id,
        revision=checkpoint.revision,
        architecture=network_class(config).__name__,
        kind=teacher_kind(config, kind),
        processor=preprocess.settings,
        flip=flip,
        scales=tuple(float(scale) for scale in scales),
        precision=cast(Any, precision),
        weights_sha256=checkpoint.weights_sha256(),  # last: gigabytes are read only when all else is in order
    )
    return IdentifiedTeacher(checkpoint, config, preprocess, identity)


def _check_settings(scales: Sequence[int | float], precision: str) -> None:
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise TeacherError(f"test-time scales {list(scales)} are not all positive numbers; the usual is 1.0 alone")
    if precision not in PRECISIONS:
        raise TeacherError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
