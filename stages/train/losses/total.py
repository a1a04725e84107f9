"""The loss of stage 2, put together from its terms."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.config import LossConfig
from stages.train.losses.ckd import bin_divergence, cross_depth
from stages.train.losses.silog import silog
from stages.train.losses.vrkd import relation_distance
from stages.train.student import StudentOutput


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher says about B rigs, on the student's own prediction grid.

    `probability` is over K bins; the KL counts where `mask` holds. `view_relation` holds R_ij for each of the
    P `pairs`, between tokens pooled on `token_grid` (rows, columns).
    """

    probability: Float[Tensor, "B V K h w"]
    mask: Bool[Tensor, "B V h w"]
    view_relation: Float[Tensor, "B P T T"]
    pairs: tuple[tuple[int, int], ...]
    token_grid: tuple[int, int]


def total_loss(
    output: StudentOutput,
    truth_m: Float[Tensor, "B V H W"],
    truth_mask: Bool[Tensor, "B V H W"],
    teacher: TeacherTargets | None,
    weights: LossConfig,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss and its terms by name, unweighted; terms of weight 0 are neither computed nor named.

    L = L_gt(Σ p_S·c_S) + λ_ckd·[w_kl·KL(p_T‖p_S) + w_cross·L_gt(Σ p_T·c_S)] + λ_vr·L_vr, where L_gt is `silog`
    on the LiDAR depths `truth_m` (metres) where `truth_mask` holds. `teacher` may be none if no weight needs one.
    """
    weight = {"lidar": 1.0}
    terms = {"lidar": silog(output.depth_m, truth_m, truth_mask)}
    if teacher is not None and weights.ckd * weights.kl > 0:
        weight["kl"] = weights.ckd * weights.kl
        terms["kl"] = bin_divergence(output.log_probability, teacher.probability, teacher.mask)
    if teacher is not None and weights.ckd * weights.cross > 0:
        weight["cross"] = weights.ckd * weights.cross
        terms["cross"] = cross_depth(teacher.probability, output.centres_m, truth_m, truth_mask)
    if teacher is not None and weights.view_relation > 0:
        weight["view_relation"] = weights.view_relation
        terms["view_relation"] = relation_distance(
            output.features, teacher.view_relation, teacher.pairs, teacher.token_grid
        )
    total = sum((weight[name] * term for name, term in terms.items()), start=terms["lidar"].new_zeros(()))
    return total, terms
