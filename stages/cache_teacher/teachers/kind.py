"""What the numbers of a teacher mean, told by its architecture and settings, or by the user."""

from __future__ import annotations

from typing import Any

from cache_schema import TeacherKind
from cache_schema.errors import TeacherError

DISPARITY, DEPTH, BINS = TeacherKind.DISPARITY_AFFINE_INVARIANT, TeacherKind.DEPTH_METRIC, TeacherKind.BINS


def teacher_kind(config: Any, asked: TeacherKind | None = None) -> TeacherKind:
    """Kind of a teacher from its transformers config; `asked` overrides what the config tells.

    An override is right for a checkpoint that was fine-tuned to something else than its architecture's usual
    output, and for ZoeDepth to use its depth instead of its bins.

    Raises TeacherError for an architecture that is not known, and for a kind it cannot have.
    """
    usual = _usual_kind(config)
    if asked is None:
        if usual is None:
            raise TeacherError(
                f"cannot tell what a {config.model_type!r} model predicts: say it with"
                f" --teacher-kind {DISPARITY} or --teacher-kind {DEPTH}"
            )
        return usual
    possible = _possible_kinds(config)
    if asked not in possible:
        raise TeacherError(
            f"a {config.model_type!r} teacher cannot be of kind {asked}: expected {' or '.join(possible)}"
        )
    return asked


def _usual_kind(config: Any) -> TeacherKind | None:
    match config.model_type:
        case "depth_anything":
            return DEPTH if config.depth_estimation_type == "metric" else DISPARITY
        case "dpt":
            # The projection belongs to DINOv2's heads for NYU and KITTI, which predict metres; MiDaS's DPT has none.
            return DEPTH if config.add_projection else DISPARITY
        case "glpn":
            return DEPTH
        case "depth_pro":
            # Without its field-of-view head the output is inverse depth per unknown focal length.
            return DEPTH if config.use_fov_model else DISPARITY
        case "zoedepth":
            return BINS
        case "street_depth":
            return DISPARITY
    return None


def _possible_kinds(config: Any) -> tuple[TeacherKind, ...]:
    match config.model_type:
        case "zoedepth":
            return (BINS, DEPTH)
        case "depth_pro":
            return (DEPTH, DISPARITY) if config.use_fov_model else (DISPARITY,)
        case "street_depth":
            return (DISPARITY,)
    return (DISPARITY, DEPTH)
