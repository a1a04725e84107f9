"""The decoder: from the coarsest features up to 1/4 of the image, taking in the encoder's finer maps."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from stages.train.student.layers import convolution


class Decoder(nn.Module):
    """Adds each finer map of the encoder to the coarser one, enlarged.

    Sums instead of U-Net's concatenations: half the work at the finest scale, where most of it is.
    """

    def __init__(self, skip_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.skips = nn.ModuleList(nn.Conv2d(skip, channels, 1) for skip in skip_channels)
        self.fuse = nn.ModuleList(convolution(channels, channels, 3) for _ in skip_channels)

    def forward(
        self, coarse: Float[Tensor, "N D _ _"], maps: Sequence[Float[Tensor, "N _ _ _"]]
    ) -> Float[Tensor, "N D h w"]:
        """Features at the scale of the first of `maps`, which are ordered finest first, as `skip_channels`."""
        x = coarse
        for skip, fuse, finer in reversed(list(zip(self.skips, self.fuse, maps, strict=True))):
            x = interpolate(x, size=finer.shape[-2:], mode="bilinear", align_corners=False)
            x = fuse(x + skip(finer))
        return x
