"""What tells scale and shift of each view: 1/z = scale · u + shift."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stages.train.losses.silog import silog
from stages.train.metric_teacher.cues import Points, RigCues

_FARTHEST_CUE = 5.0
"""Cues are cut beyond this: a view unlike any other must not carry the head far away."""
_SHIFT = 0.05
"""1/m that one unit of the head's second output shifts by."""
_ONE_SCALE_ROUNDS = 100

Limits = tuple[float, float]
"""The least and the greatest depth, in metres."""


class ScaleShift(NamedTuple):
    """1/z = scale · u + shift in each view, both in 1/m."""

    scale: Float[Tensor, "*N V"]
    shift: Float[Tensor, "*N V"]

    def inverse_depth(self, u: Float[Tensor, "*N V P"], limits_m: Limits) -> Float[Tensor, "*N V P"]:
        """1/z in 1/m at P values of u in each view, within the limits."""
        found: Tensor = (self.scale[..., None] * u + self.shift[..., None]).clamp(1 / limits_m[1], 1 / limits_m[0])
        return found


class ScaleHead(nn.Module):
    """One scale and shift of disparity for all views, and how each view differs from it.

    Disparity is counted from that of a typical view, and in its span, so that no teacher's unit matters. Before it has
    learned, the head tells the one scale for all.
    """

    one: Tensor
    """Logarithm of the one scale for all views, and its shift."""
    typical: Tensor
    """Low and span of a typical view."""
    typical_ground: Tensor

    def __init__(self, channels: int, cameras: int, hidden: int) -> None:
        super().__init__()
        self.normalise = nn.LayerNorm(channels) if channels else nn.Identity()
        last = nn.Linear(hidden, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(channels + cameras + 5, hidden), nn.GELU(), last)
        for name, size in (("one", 2), ("typical", 2), ("typical_ground", 2)):
            self.register_buffer(name, torch.zeros(size))

    def forward(self, cues: RigCues) -> ScaleShift:
        """Scale and shift of every view; what is said of a view that the teacher knows nothing of means nothing."""
        differs = self.layers(self._inputs(cues))
        return self._of_u(cues, self.one[0] + differs[..., 0], self.one[1] + _SHIFT * differs[..., 1])

    def one_scale(self, cues: RigCues) -> ScaleShift:
        """Those of the one scale of disparity for all views."""
        return self._of_u(cues, *self.one)

    def settle(self, cues: RigCues, points: Points, limits_m: Limits) -> None:
        """Take from some rigs what is typical, and the one scale for all views at which L_gt is least."""
        self.typical = torch.stack([cues.low[cues.known].median(), cues.span[cues.known].median()])
        ground = self._ground(cues)[cues.known & (cues.ground[..., 2] > 0)]
        if len(ground):
            self.typical_ground = ground.median(dim=0).values
        one = self._least_relative_error(cues, points).requires_grad_()
        search = torch.optim.LBFGS([one], max_iter=_ONE_SCALE_ROUNDS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            off = l_gt(self._of_u(cues, *one), points, limits_m)
            torch.autograd.backward(off)
            return off

        search.step(loss)  # type: ignore[no-untyped-call]
        self.one = one.detach()

    def _least_relative_error(self, cues: RigCues, points: Points) -> Float[Tensor, "2"]:
        """From where to search for the one scale: least squares of z · (scale · d + shift) − 1 over all points."""
        span, low = self._units(cues)
        there = points.depth_m > 0
        d, z = (span[..., None] * points.u + low[..., None])[there].double(), points.depth_m[there].double()
        found = torch.linalg.lstsq(torch.stack([z * d, z], dim=1), torch.ones_like(z)[:, None]).solution[:, 0]
        return torch.stack([found[0].clamp(min=1e-3).log(), found[1]]).float()

    def _of_u(self, cues: RigCues, log_scale: Tensor, shift: Tensor) -> ScaleShift:
        span, low = self._units(cues)
        return ScaleShift(log_scale.exp() * span, log_scale.exp() * low + shift)

    def _units(self, cues: RigCues) -> tuple[Float[Tensor, "*N V"], Float[Tensor, "*N V"]]:
        """Span and low of each view, counted as `ScaleHead` says."""
        span = torch.where(cues.known, cues.span / self.typical[1], 1)
        return span, torch.where(cues.known, (cues.low - self.typical[0]) / self.typical[1], 0)

    def _ground(self, cues: RigCues) -> Float[Tensor, "*N V 2"]:
        """What the ground says of the disparity of a view: the logarithm of its scale, and its shift."""
        span, low = self._units(cues)
        scale = cues.ground[..., 0].clamp(min=1e-3) / span
        return torch.stack([scale.log(), cues.ground[..., 1] - scale * low], -1)

    def _inputs(self, cues: RigCues) -> Float[Tensor, "*N V D"]:
        span, low = self._units(cues)
        agree = cues.ground[..., 2:]
        ground = (self._ground(cues) - self.typical_ground) * (agree > 0)
        numbers = torch.cat([span.log()[..., None], low[..., None], ground[..., :1], 10 * ground[..., 1:], agree], -1)
        cameras = torch.eye(span.shape[-1]).expand(*span.shape, -1)
        return torch.cat([self.normalise(cues.feature), cameras, numbers.clamp(-_FARTHEST_CUE, _FARTHEST_CUE)], -1)


def l_gt(found: ScaleShift, points: Points, limits_m: Limits) -> Float[Tensor, ""]:
    """L_gt of the depth at LiDAR points."""
    return silog(1 / found.inverse_depth(points.u, limits_m), points.depth_m, points.depth_m > 0)
