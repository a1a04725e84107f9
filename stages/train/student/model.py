"""The student network."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from stages.train.config import StudentConfig
from stages.train.student.bins import enlarge
from stages.train.student.cross_view import CrossView
from stages.train.student.decoder import Decoder
from stages.train.student.encoder import Encoder
from stages.train.student.heads import Bins, make_head
from stages.train.student.layers import convolution


@dataclass(frozen=True)
class StudentOutput:
    """What the student says about B rigs of V views.

    `depth_m` is at the size of the image, `coarse_depth_m` the same at 1/4 of it, where it is made: from `bins`,
    which a student without bins has none of. What a teacher's tokens are compared with: `features`, the encoder's last
    stage, and `context`, what is left of them once every view has looked at its neighbours.
    """

    depth_m: Float32[Tensor, "B V H W"]
    coarse_depth_m: Float32[Tensor, "B V h w"]
    bins: Bins | None
    features: Float[Tensor, "B V C hf wf"]
    context: Float[Tensor, "B V D hf wf"]


class Student(nn.Module):
    """Encoder, cross-view block, decoder, and a head: the binning module, or a single channel."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        D = config.decoder_channels
        *finer, coarsest = config.encoder.hidden_sizes
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.narrow = convolution(coarsest, D, 1)
        self.cross_view = CrossView(D, config.cross_view_heads, config.cross_view_grid) if config.cross_view else None
        self.decoder = Decoder(finer, D)
        self.head = make_head(config)

    def forward(self, images: UInt8[Tensor, "B V H W 3"]) -> StudentOutput:
        """Depth of every view from RGB images as the cache hands them out; views in ring order."""
        B, V, H, W, _ = images.shape
        *finer, features = self.encoder(images.flatten(0, 1))
        coarse = self.narrow(features).unflatten(0, (B, V))  # B, V, D, H/32, W/32
        if self.cross_view is not None:
            coarse = self.cross_view(coarse)
        fine = self.decoder(coarse.flatten(0, 1), finer)  # B·V, D, H/4, W/4
        coarse_depth_m, bins = self.head(fine.unflatten(0, (B, V)), coarse)
        return StudentOutput(
            depth_m=enlarge(coarse_depth_m, (H, W)),
            coarse_depth_m=coarse_depth_m,
            bins=bins,
            features=features.unflatten(0, (B, V)),
            context=coarse,
        )
