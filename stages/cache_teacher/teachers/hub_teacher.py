"""A teacher from the hub or a local folder: a depth model of transformers that needs nothing but a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from cache_schema import TeacherIdentity, TeacherKind
from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers.base import BinPrediction, NotFiniteError, PointPrediction, TeacherOutput
from stages.cache_teacher.teachers.features import FeatureTap
from stages.cache_teacher.teachers.heads import Maps, head_for
from stages.cache_teacher.teachers.identify import identified
from stages.cache_teacher.teachers.network import load_network
from stages.cache_teacher.teachers.network_input import NetworkInput, show
from stages.cache_teacher.teachers.preprocess import Preprocessor
from stages.cache_teacher.teachers.rig_batch import equally_sized, in_order
from stages.wording import one_line

Features = Float[Tensor, "V D hf wf"]

_AUTOCAST_TO = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_teacher(
    name_or_path: str,
    *,
    revision: str | None = None,
    kind: TeacherKind | None = None,
    flip: bool = True,
    scales: Sequence[int | float] = (1.0,),
    device: str | torch.device = "cpu",
    precision: str = "float32",
) -> HubTeacher:
    """Load a teacher by hub id, or from a folder written by `save_pretrained`.

    A model in the local hub cache is used without asking the hub. Only safetensors are read, and no code that
    comes with a model is run. `kind` overrides what the architecture tells, see `teacher_kind`. `flip` adds a
    mirrored test-time view; `scales` multiply the size that the model's processor aims at. A precision other
    than float32 computes under autocast, weights and results stay float32.

    Raises TeacherError for a model that is missing, no depth model, or not usable with these settings.
    """
    known = identified(name_or_path, revision, kind, flip, scales, precision)
    network, missing_weights = load_network(known.checkpoint, known.config)
    return HubTeacher(_moved(network, device), known.preprocess, known.identity, missing_weights)


class HubTeacher:
    """A loaded network with its processor; see `Teacher`.

    Predictions come in the order of the scales, at each scale plain and then mirrored; the features are those of
    the first. Every map covers exactly the image, at the resolution the network gave, so that a plain resize
    brings it to any grid. Disparity known up to scale and shift has another scale and shift in each prediction:
    whoever averages predictions aligns them first, by their quantiles.

    Images of equal size go through the network as one batch. A ZoeDepth with several metric heads chooses one of
    them for the batch, so what it says about an image can depend on the rest of the rig.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocess: Preprocessor,
        identity: TeacherIdentity,
        missing_weights: Sequence[str] = (),
    ) -> None:
        self.identity = identity
        self.weights = tuple(network.parameters())
        self._network = network
        self._preprocess = preprocess
        self._missing_weights = missing_weights
        self._device = self.weights[0].device
        self._head = head_for(network, identity.kind)
        self._features = FeatureTap(network)

    @torch.inference_mode()
    def __call__(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> TeacherOutput:
        """Predict for the images of one rig; where they differ in size, maps are brought to the largest.

        Raises TeacherError where the network refuses the input, or answers with NaN or infinity.
        """
        seen = list(self._test_time_views(images))
        return TeacherOutput(tuple(_prediction(maps) for maps, _ in seen), features=seen[0][1])

    def _test_time_views(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Iterator[tuple[Maps, Features]]:
        groups = equally_sized(images)
        for scale in self.identity.scales:
            batches = [self._preprocess([images[i] for i in group], scale) for group in groups]
            for mirrored in (False, True) if self.identity.flip else (False,):
                maps, features = zip(
                    *(self._look(batch, mirrored, group) for batch, group in zip(batches, groups, strict=True)),
                    strict=True,
                )
                yield tuple(in_order(groups, each) for each in zip(*maps, strict=True)), in_order(groups, features)

    def _look(self, batch: NetworkInput, mirrored: bool, views: Sequence[int]) -> tuple[Maps, Features]:
        """One forward pass, its maps oriented as the plain image and cut to it."""
        pixel_values = batch.pixel_values.to(self._device)
        output = self._forward(pixel_values.flip(-1) if mirrored else pixel_values)
        maps, features = self._head(output), self._features.take((pixel_values.shape[-2], pixel_values.shape[-1]))
        self._require_finite(views, output.predicted_depth, *maps, features)
        if mirrored:
            maps, features = tuple(each.flip(-1) for each in maps), features.flip(-1)
        return tuple(show(each, batch.window) for each in maps), show(features, batch.window)

    def _forward(self, pixel_values: Float[Tensor, "V 3 h w"]) -> Any:
        dtype = _AUTOCAST_TO[self.identity.precision]
        try:
            with torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None):
                return self._network(pixel_values=pixel_values)
        except (ValueError, RuntimeError) as error:  # a size the architecture cannot take, or too little memory
            views, _, height, width = pixel_values.shape
            raise TeacherError(
                f"teacher {self.identity.id} cannot see {views} images of {height}x{width} pixels at once:"
                f" {one_line(error)}"
            ) from error

    def _require_finite(self, views: Sequence[int], *found: Tensor) -> None:
        finite = torch.stack([each.flatten(1).isfinite().all(dim=1) for each in found]).all(dim=0)
        if bool(finite.all()):
            return
        cause = f"computing in {self.identity.precision} overflows; use --precision float32"
        if self.identity.precision == "float32":
            cause = "its weights or this frame are damaged"
        if self._missing_weights:
            cause = f"its files lack weights of the network: {', '.join(self._missing_weights[:3])}"
        raise NotFiniteError(
            f"teacher {self.identity.id} answered with NaN or infinity, which is not cached: {cause}",
            [view for view, good in zip(views, finite.tolist(), strict=True) if not good],
        )


def _prediction(maps: Maps) -> PointPrediction | BinPrediction:
    if len(maps) == 1:
        return PointPrediction(maps[0].squeeze(1))
    probability, centre_disparity = maps
    return BinPrediction(probability, centre_disparity)


def _moved(network: nn.Module, device: str | torch.device) -> nn.Module:
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:  # what torch raises depends on the kind of device
        raise TeacherError(f"device {device} cannot hold the teacher ({one_line(error)}); use --device cpu") from error
