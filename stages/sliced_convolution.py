"""1×1 convolutions with a stride, computed as a slice and a convolution without one.

oneDNN's own backward pass of them writes past its memory on CPUs where channels are few, see
docs/decisions/strided-1x1-convolutions.md. Every network that is trained here is built without them.
"""

from __future__ import annotations

from typing import TypeVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

Network = TypeVar("Network", bound=nn.Module)


class SlicedConv2d(nn.Conv2d):
    """A 1×1 convolution that takes every stride-th row and column of its input first: the same result."""

    def forward(self, x: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N D h w"]:
        """The same as of `nn.Conv2d`."""
        rows, columns = self.stride
        return conv2d(x[..., ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def slice_strided_1x1(network: Network) -> Network:
    """Turn every strided 1×1 convolution of a network into a `SlicedConv2d`, in place; its weights and names stay."""
    for module in network.modules():
        if is_strided_1x1(module):
            module.__class__ = SlicedConv2d
    return network


def is_strided_1x1(module: nn.Module) -> bool:
    """Whether a module is a plain 1×1 convolution that skips pixels and pads nothing: oneDNN's faulty case."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.padding in ((0, 0), "valid")
    )
