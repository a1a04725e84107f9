"""From what a network returns to disparity, or to bins and their centres, over its whole input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cache_schema import TeacherKind

MIN_DEPTH_M = 1e-3
"""Below this a predicted depth means nothing; it bounds disparity where a network answers zero."""

Maps = tuple[Float[Tensor, "V C h w"], ...]
"""One disparity map (C = 1), or bin probabilities and bin centres as disparity (C = J bins)."""

Head = Callable[[Any], Maps]
"""Reads the output object of a transformers depth model."""


def head_for(model: Any, kind: TeacherKind) -> Head:
    """The reading of a model's output that its architecture and kind call for."""
    if kind is TeacherKind.BINS:
        return ZoeDepthBins(model)
    if model.config.model_type == "depth_pro":
        return depth_pro_disparity
    return disparity if kind is TeacherKind.DISPARITY_AFFINE_INVARIANT else inverse_depth


def disparity(output: Any) -> Maps:
    """Output that is disparity already, whatever its field is called."""
    return (output.predicted_depth.float().unsqueeze(1),)


def inverse_depth(output: Any) -> Maps:
    """Output in metres."""
    return (_inverse(output.predicted_depth.float().unsqueeze(1)),)


def depth_pro_disparity(output: Any) -> Maps:
    """Depth Pro's canonical inverse depth C, made metric by its own field of view: C · W / f_px [1/m].

    W / f_px = 2 tan(fov/2) at any resolution. Without the field-of-view head C stands as it is, disparity of
    unknown scale. The field is called `predicted_depth` all the same (Bochkovskii et al., arXiv 2410.02073, eq. 1).
    """
    canonical = output.predicted_depth.float().unsqueeze(1)
    if output.field_of_view is None:
        return (canonical,)
    fov_rad = torch.deg2rad(output.field_of_view.float()).view(-1, 1, 1, 1)
    return (canonical * 2 * torch.tan(fov_rad / 2),)


class ZoeDepthBins:
    """ZoeDepth's conditional log-binomial probabilities and its bin centres, of which Σ p·c is its depth.

    The model returns the sum alone, so both are overheard where they are made: the probabilities leave the
    log-binomial module, the centres leave the last attractor layer at a lower resolution. A model with several
    metric heads routes a whole batch through one of them; the others stay silent.
    """

    def __init__(self, model: Any) -> None:
        self._heard: dict[str, Float[Tensor, "V J h w"]] = {}
        head = model.metric_head
        several = isinstance(head.attractors, nn.ModuleDict)
        attractors = head.attractors.values() if several else [head.attractors]
        binomials = head.conditional_log_binomial.values() if several else [head.conditional_log_binomial]
        for layers in attractors:
            layers[-1].register_forward_hook(self._hear_centres)
        for binomial in binomials:
            binomial.register_forward_hook(self._hear_probability)

    def _hear_centres(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._heard["centre_m"] = output[1]

    def _hear_probability(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._heard["probability"] = output

    def __call__(self, output: Any) -> Maps:
        """Probabilities, and centres brought to their resolution the way the model does before it sums."""
        probability = self._heard.pop("probability").float()
        centre_m = self._heard.pop("centre_m").float()
        centre_m = interpolate(centre_m, probability.shape[-2:], mode="bilinear", align_corners=True)
        return probability, _inverse(centre_m)


def _inverse(depth_m: Float[Tensor, "V C h w"]) -> Float[Tensor, "V C h w"]:
    return 1 / depth_m.clamp(min=MIN_DEPTH_M)
