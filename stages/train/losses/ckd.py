"""The two terms of CKD: the teacher's bin probabilities, and their use with the student's bin centres."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.losses.masked_mean import masked_mean
from stages.train.losses.silog import silog
from stages.train.student.bins import metric_depth


def bin_divergence(
    log_student: Float[Tensor, "B V K h w"], teacher: Float[Tensor, "B V K h w"], mask: Bool[Tensor, "B V h w"]
) -> Float[Tensor, ""]:
    """KL(p_T‖p_S) in nats, averaged over the pixels where `mask` holds.

    `teacher` are probabilities, `log_student` log-probabilities; both are normalised over K.
    """
    divergence = (torch.special.xlogy(teacher, teacher) - teacher * log_student).sum(dim=2)
    return masked_mean(divergence, mask)


def cross_depth(
    teacher: Float[Tensor, "B V K h w"],
    centres_m: Float[Tensor, "B V K"],
    truth_m: Float[Tensor, "B V H W"],
    mask: Bool[Tensor, "B V H W"],
) -> Float[Tensor, ""]:
    """L_gt of the teacher's probabilities with the student's centres: Σ_k p_T[k] · c_S[k] must be metric depth.

    Only the centres learn from it. `truth_m` in metres, used where `mask` holds.
    """
    return silog(metric_depth(teacher, centres_m, (truth_m.shape[-2], truth_m.shape[-1])), truth_m, mask)
