"""The terms of CKD: the teacher's bin probabilities, as they are or in metres, and used with the student's centres."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stages.train.config import DepthScale
from stages.train.losses.masked_mean import masked_mean
from stages.train.losses.silog import silog
from stages.train.student.bins import metric_depth


def bin_divergence(
    log_student: Float[Tensor, "B V K h w"],
    teacher: Float[Tensor, "B V K h w"],
    mask: Bool[Tensor, "B V h w"],
    weight: Float[Tensor, "B V h w"] | None = None,
    temperature: int | float = 1.0,
) -> Float[Tensor, ""]:
    """KL(p_T‖p_S) in nats, averaged over the pixels where `mask` holds, by `weight` where that is given.

    `teacher` are probabilities, `log_student` log-probabilities; both are normalised over K. A temperature τ other than
    1 compares p^(1/τ), normalised, and multiplies by τ² (Hinton et al., arXiv 1503.02531).
    """
    if temperature != 1:
        log_student = (log_student / temperature).log_softmax(dim=2)
        teacher = teacher.pow(1 / temperature)
        teacher = teacher / teacher.sum(dim=2, keepdim=True)
    least = torch.finfo(teacher.dtype).tiny  # so that 0 · log 0 is 0; xlogy, which is made for that, takes longer
    divergence = temperature**2 * (teacher * (teacher.clamp(min=least).log() - log_student)).sum(dim=2)
    if weight is None:
        return masked_mean(divergence, mask)
    return masked_mean(weight * divergence, mask) / masked_mean(weight, mask).clamp(min=1e-6)


def moved_bins(
    probability: Float[Tensor, "B V K h w"], from_m: Float[Tensor, "B V K"], to_m: Float[Tensor, "B V J"]
) -> Float[Tensor, "B V J h w"]:
    """Probabilities over the depths `from_m` as such over `to_m`, both in metres and each view's own.

    What a depth has goes to the two centres around it by how near they are in log depth, so that the mean of the log
    depth stays; what lies beyond the farthest or the nearest goes to that one. `to_m` descends strictly.
    """
    with torch.no_grad():
        there, here = -from_m.log(), (-to_m.log()).contiguous()  # ascending
        nearer = torch.searchsorted(here, there).clamp(1, here.shape[-1] - 1)
        farther = nearer - 1
        low, high = here.gather(-1, farther), here.gather(-1, nearer)
        share = ((there - low) / (high - low)).clamp(0, 1)
        moves = probability.new_zeros(*there.shape, here.shape[-1])
        moves.scatter_(-1, farther[..., None], (1 - share)[..., None])
        moves.scatter_(-1, nearer[..., None], share[..., None])
        return torch.einsum("bvkhw,bvkj->bvjhw", probability, moves)


def cross_depth(
    teacher: Float[Tensor, "B V K h w"],
    centres_m: Float[Tensor, "B V K"],
    combine: DepthScale,
    truth_m: Float[Tensor, "B V H W"],
    mask: Bool[Tensor, "B V H W"],
) -> Float[Tensor, ""]:
    """L_gt of the teacher's probabilities with the student's centres: Σ_k p_T[k] · c_S[k] must be metric depth.

    The sum is on the scale `combine`, as the student's own. Only the centres learn from it. `truth_m` in metres, used
    where `mask` holds.
    """
    return silog(metric_depth(teacher, centres_m, combine, (truth_m.shape[-2], truth_m.shape[-1])), truth_m, mask)
