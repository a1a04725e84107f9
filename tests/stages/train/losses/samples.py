"""What a student and a teacher say about a rig of two small views, at random."""

from __future__ import annotations

import torch

from stages.train.losses import TeacherTargets
from stages.train.student import StudentOutput
from stages.train.student.bins import enlarge, expected_depth
from stages.train.student.heads import Bins

B, V, H, W = 1, 2, 8, 12
CELLS = (B, V, H // 4, W // 4)
PAIRS = ((0, 1), (1, 0))
STUDENT_CHANNELS, TEACHER_CHANNELS = 5, 3


def depths() -> torch.Tensor:
    return torch.rand(B, V, H, W) * 50 + 2


def probabilities(bins: int) -> torch.Tensor:
    return torch.randn(B, V, bins, H // 4, W // 4).softmax(dim=2)


def student_output(bins: int, dtype: torch.dtype = torch.float32) -> StudentOutput:
    logits = torch.randn(B, V, bins, H // 4, W // 4, dtype=dtype, requires_grad=True)
    gaps = torch.randn(B, V, bins, dtype=dtype, requires_grad=True)
    centres = 100 * gaps.exp().cumsum(dim=-1).flip(-1)
    log_probability = logits.log_softmax(dim=2)
    coarse_depth_m = expected_depth(log_probability.exp(), centres, "depth")
    return StudentOutput(
        depth_m=enlarge(coarse_depth_m, (H, W)),
        coarse_depth_m=coarse_depth_m,
        bins=Bins(log_probability, centres, "depth"),
        features=torch.randn(B, V, STUDENT_CHANNELS, 2, 3, dtype=dtype, requires_grad=True),
        context=torch.randn(B, V, 4, 2, 3, dtype=dtype, requires_grad=True),
    )


def teacher_targets(bins: int, mask: torch.Tensor) -> TeacherTargets:
    return TeacherTargets(
        probability=probabilities(bins),
        disparity=torch.rand(mask.shape),
        certainty=None,
        mask=mask,
        view_relation=torch.rand(B, len(PAIRS), 4, 4),
        pairs=PAIRS,
        token_grid=(2, 2),
        features=torch.randn(B, V, 4, TEACHER_CHANNELS),
    )
