"""The student network."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from stages.train.config import StudentConfig
from stages.train.student.bins import BinCentres, BinProbability, metric_depth
from stages.train.student.cross_view import CrossView
from stages.train.student.decoder import Decoder
from stages.train.student.encoder import Encoder
from stages.train.student.layers import convolution


@dataclass(frozen=True)
class StudentOutput:
    """What the student says about B rigs of V views.

    `log_probability` is over K bins at 1/4 of the image, k = 0 the farthest; `centres_m` are the depths of the
    bins, per view; `depth_m` is at the size of the image. `features` are the encoder's last stage, for the view
    relation.
    """

    log_probability: Float32[Tensor, "B V K h w"]
    centres_m: Float32[Tensor, "B V K"]
    depth_m: Float32[Tensor, "B V H W"]
    features: Float[Tensor, "B V C hf wf"]


class Student(nn.Module):
    """Encoder, cross-view block, decoder, binning module."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        D = config.decoder_channels
        *finer, coarsest = config.encoder.hidden_sizes
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.narrow = convolution(coarsest, D, 1)
        self.cross_view = CrossView(D, config.cross_view_heads, config.cross_view_grid) if config.cross_view else None
        self.decoder = Decoder(finer, D)
        self.probability = BinProbability(D, config.bins)
        self.centres = BinCentres(D, config.bins, config.d_min_m, config.d_max_m)

    def forward(self, images: UInt8[Tensor, "B V H W 3"]) -> StudentOutput:
        """Depth of every view from RGB images as the cache hands them out; views in ring order."""
        B, V, H, W, _ = images.shape
        *finer, features = self.encoder(images.flatten(0, 1))
        coarse = self.narrow(features).unflatten(0, (B, V))  # B, V, D, H/32, W/32
        if self.cross_view is not None:
            coarse = self.cross_view(coarse)
        fine = self.decoder(coarse.flatten(0, 1), finer)  # B·V, D, H/4, W/4
        log_probability = self.probability(fine).unflatten(0, (B, V))
        centres_m = self.centres(coarse.mean(dim=(-2, -1)).flatten(0, 1)).unflatten(0, (B, V))
        return StudentOutput(
            log_probability=log_probability,
            centres_m=centres_m,
            depth_m=metric_depth(log_probability.exp(), centres_m, (H, W)),
            features=features.unflatten(0, (B, V)),
        )
