"""The loss of stage 2, put together from its terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from cache_schema.manifest import RelationOf
from stages.train.config import LossConfig
from stages.train.losses.ckd import bin_divergence, cross_depth, moved_bins
from stages.train.losses.feature_regression import Projector, feature_distance
from stages.train.losses.metric_depth import joint_silog
from stages.train.losses.metric_kd import metric_divergence
from stages.train.losses.pseudo_label import disparity_difference
from stages.train.losses.rkd import (
    ANGLE_WEIGHT,
    angle_difference,
    distance_difference,
    student_tokens,
    teacher_tokens,
)
from stages.train.losses.silog import silog
from stages.train.losses.vrkd import relation_distance
from stages.train.student import StudentOutput
from stages.train.student.heads import Bins


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher says about B rigs, on the student's own prediction grid.

    `probability` is over K bins, `disparity` its expected position u in [0, 1] and `certainty`, where it is asked for,
    the width of a target without doubt as a share of its own, at most 1; all count where `mask` holds.
    `view_relation` holds R_ij for each of the P `pairs`, of tokens pooled on `token_grid` (rows, columns) or, as
    `relation_of` says, of their deviations; `features` are the teacher's tokens themselves, where they are asked for.
    Both count in the views that are `whole`, or everywhere if that is none. Where `says` is given and
    False, the teacher knows nothing of the view: `mask` and `whole` leave it out too. `depth_m` is what the metric
    teacher says, in metres, 0 where it is not to be relied on, `centres_m` what the K bins of each view are for it;
    none where no loss asks for them.
    """

    probability: Float[Tensor, "B V K h w"]
    disparity: Float[Tensor, "B V h w"]
    certainty: Float[Tensor, "B V h w"] | None
    mask: Bool[Tensor, "B V h w"]
    view_relation: Float[Tensor, "B P T T"]
    pairs: tuple[tuple[int, int], ...]
    token_grid: tuple[int, int]
    relation_of: RelationOf = "tokens"
    features: Float[Tensor, "B V T D"] | None = None
    whole: Bool[Tensor, "B V"] | None = None
    says: Bool[Tensor, "B V"] | None = None
    depth_m: Float[Tensor, "B V h w"] | None = None
    centres_m: Float[Tensor, "B V K"] | None = None


def total_loss(
    output: StudentOutput,
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
    teacher: TeacherTargets | None,
    weights: LossConfig,
    teacher_share: float = 1.0,
    projector: Projector | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss and its terms by name, unweighted; terms of weight 0 are neither computed nor named.

    L = L_gt(Σ p_S·c_S) + λ_ckd·[w_kl·KL(p_T‖p_S) + w_cross·L_gt(Σ p_T·c_S)] + λ_vr·L_vr + λ_ssi·L_ssi
    + λ_rkd·[D + 2·A] + λ_feat·L_feat + λ_metric·KL(p_metric‖p_S), where L_gt is `silog` on the LiDAR depths `truth_m`
    (metres) where `truth_mask` holds; with the metric teacher's depth the first is `joint_silog`. `teacher` may be none
    if no weight needs one; `teacher_share` is how much of its weights is left; `projector` is needed by L_feat alone.

    Raises ValueError where CKD or metric distillation meets a student without bins, and where feature regression lacks
    the teacher's features or the projector.
    """
    lidar = silog(output.depth_m, truth_m, truth_mask)
    total, terms = lidar, {"lidar": lidar}
    if teacher is not None and weights.metric_depth > 0:
        total = terms["metric_depth"] = _joint(
            output, truth_m, truth_mask, teacher, teacher_share * weights.metric_depth
        )
    if teacher is not None:
        for name, term, weight in _taught(output, truth_m, truth_mask, teacher, weights, projector):
            total = total + teacher_share * weight * term
            terms[name] = term
    return total, terms


def _joint(
    output: StudentOutput,
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
    teacher: TeacherTargets,
    weight: float,
) -> Float[Tensor, ""]:
    """L_gt of LiDAR points and of the metric teacher's cells that hold none."""
    if teacher.depth_m is None:
        raise ValueError("losses.metric_depth needs what the metric teacher says in metres")
    label_m, size = teacher.depth_m, (teacher.depth_m.shape[-2], teacher.depth_m.shape[-1])
    free = (label_m > 0) & ~(adaptive_max_pool2d(truth_mask.float(), size) > 0)
    return joint_silog(output.depth_m, truth_m, truth_mask, output.coarse_depth_m, label_m, free, weight)


def _taught(
    output: StudentOutput,
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
    teacher: TeacherTargets,
    weights: LossConfig,
    projector: Projector | None,
) -> Iterator[tuple[str, Tensor, float]]:
    """Name, value and weight of each term that a teacher teaches."""
    if weights.ckd > 0:
        bins = _bins(output)
        if weights.kl > 0:
            probability = _metric(teacher, bins) if weights.kl_is_metric else teacher.probability
            kl = bin_divergence(bins.log_probability, probability, teacher.mask, teacher.certainty, weights.temperature)
            yield "kl", kl, weights.ckd * weights.kl
        if weights.cross > 0:
            known = truth_mask if teacher.says is None else truth_mask & teacher.says[..., None, None]
            cross = cross_depth(teacher.probability, bins.centres_m, bins.combine, truth_m, known)
            yield "cross", cross, weights.ckd * weights.cross
    if weights.view_relation > 0:
        relation = relation_distance(
            output.context if weights.relation_in == "context" else output.features,
            teacher.view_relation,
            teacher.pairs,
            teacher.token_grid,
            weights.relation,
            facing=weights.facing,
            of=teacher.relation_of,
            whole=teacher.whole,
        )
        yield "view_relation", relation, weights.view_relation
    if weights.pseudo_label > 0:
        label = disparity_difference(1 / output.coarse_depth_m, teacher.disparity, teacher.mask)
        yield "pseudo_label", label, weights.pseudo_label
    if weights.rkd > 0:
        tokens, (others, valid) = student_tokens(output.features), teacher_tokens(teacher.probability, teacher.mask)
        yield "rkd_distance", distance_difference(tokens, others, valid), weights.rkd
        yield "rkd_angle", angle_difference(tokens, others, valid), weights.rkd * ANGLE_WEIGHT
    if weights.features > 0:
        if teacher.features is None or projector is None:
            raise ValueError("feature regression needs the teacher's features and a projector to their channels")
        distance = feature_distance(output.features, teacher.features, teacher.token_grid, projector, teacher.whole)
        yield "features", distance, weights.features
    if weights.metric_kd > 0:
        bins = _bins(output)
        metric = metric_divergence(
            bins.log_probability, bins.centres_m, teacher.disparity, teacher.mask, truth_m, truth_mask
        )
        yield "metric_kd", metric, weights.metric_kd


def _metric(teacher: TeacherTargets, bins: Bins) -> Float[Tensor, "B V K h w"]:
    if teacher.centres_m is None:
        raise ValueError("the KL over metric bins needs what the metric teacher's bins are in metres")
    return moved_bins(teacher.probability, teacher.centres_m, bins.centres_m)


def _bins(output: StudentOutput) -> Bins:
    if output.bins is None:
        raise ValueError("the teacher's bins are compared with the student's, which has none: its head is regression")
    return output.bins
