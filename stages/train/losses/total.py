"""The loss of stage 2, put together from its terms."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.config import LossConfig
from stages.train.losses.ckd import bin_divergence, cross_depth
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


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher says about B rigs, on the student's own prediction grid.

    `probability` is over K bins, `disparity` its expected position u in [0, 1] and `certainty`, where it is asked for,
    the width of a target without doubt as a share of its own, at most 1; all count where `mask` holds.
    `view_relation` holds R_ij for each of the P `pairs`, between tokens pooled on `token_grid` (rows, columns);
    it counts where `related` holds, or everywhere if that is none.
    """

    probability: Float[Tensor, "B V K h w"]
    disparity: Float[Tensor, "B V h w"]
    certainty: Float[Tensor, "B V h w"] | None
    mask: Bool[Tensor, "B V h w"]
    view_relation: Float[Tensor, "B P T T"]
    pairs: tuple[tuple[int, int], ...]
    token_grid: tuple[int, int]
    related: Bool[Tensor, "B P"] | None = None


def total_loss(
    output: StudentOutput,
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
    teacher: TeacherTargets | None,
    weights: LossConfig,
    teacher_share: float = 1.0,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss and its terms by name, unweighted; terms of weight 0 are neither computed nor named.

    L = L_gt(Σ p_S·c_S) + λ_ckd·[w_kl·KL(p_T‖p_S) + w_cross·L_gt(Σ p_T·c_S)] + λ_vr·L_vr + λ_ssi·L_ssi
    + λ_rkd·[D + 2·A], where L_gt is `silog` on the LiDAR depths `truth_m` (metres) where `truth_mask` holds.
    `teacher` may be none if no weight needs one; `teacher_share` is how much of its weights is left.

    Raises ValueError where CKD meets a student without bins.
    """
    weight = {"lidar": 1.0}
    terms = {"lidar": silog(output.depth_m, truth_m, truth_mask)}

    def add(name: str, value: Tensor, times: float) -> None:
        terms[name], weight[name] = value, teacher_share * times

    if teacher is not None and weights.ckd > 0:
        if output.bins is None:
            raise ValueError("CKD compares bins, and this student has none: its head is regression")
        if weights.kl > 0:
            kl = bin_divergence(
                output.bins.log_probability,
                teacher.probability,
                teacher.mask,
                teacher.certainty,
                weights.temperature,
            )
            add("kl", kl, weights.ckd * weights.kl)
        if weights.cross > 0:
            cross = cross_depth(teacher.probability, output.bins.centres_m, output.bins.combine, truth_m, truth_mask)
            add("cross", cross, weights.ckd * weights.cross)
    if teacher is not None and weights.view_relation > 0:
        relation = relation_distance(
            output.features,
            teacher.view_relation,
            teacher.pairs,
            teacher.token_grid,
            weights.relation,
            facing=weights.facing,
            mask=teacher.related,
        )
        add("view_relation", relation, weights.view_relation)
    if teacher is not None and weights.pseudo_label > 0:
        label = disparity_difference(1 / output.coarse_depth_m, teacher.disparity, teacher.mask)
        add("pseudo_label", label, weights.pseudo_label)
    if teacher is not None and weights.rkd > 0:
        tokens, (others, valid) = student_tokens(output.features), teacher_tokens(teacher.probability, teacher.mask)
        add("rkd_distance", distance_difference(tokens, others, valid), weights.rkd)
        add("rkd_angle", angle_difference(tokens, others, valid), weights.rkd * ANGLE_WEIGHT)
    total = sum((weight[name] * term for name, term in terms.items()), start=terms["lidar"].new_zeros(()))
    return total, terms
