"""Batch normalisation over the rigs of all processes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stages.train.reduce import sum_over_processes


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, while training with mean and variance over the batches of all processes.

    As torch's SyncBatchNorm, which works on GPUs only. In float32, whatever comes in.
    """

    def forward(self, input: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:  # noqa: A002  torch's name
        """The normalised batch."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        mean, variance, count = _statistics(x)
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_batch_norm(model: nn.Module) -> None:
    """Put a `SharedBatchNorm2d` in the place of every `nn.BatchNorm2d`; parameters, buffers and names stay."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum, device="meta")
                shared._parameters, shared._buffers = child._parameters, child._buffers
                setattr(module, name, shared.train(child.training))


def _statistics(x: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"], Tensor]:
    """Mean and biased variance of every channel over all processes, and how many values they are over."""
    count = x.new_tensor([x.numel() / x.shape[1]])
    total = sum_over_processes(torch.cat([x.sum(dim=(0, 2, 3)), count]))
    mean = total[:-1] / total[-1]
    # A second sum: squares less the squared mean would lose digits.
    squares = sum_over_processes((x - mean[:, None, None]).square().sum(dim=(0, 2, 3)))
    return mean, squares / total[-1], total[-1]
