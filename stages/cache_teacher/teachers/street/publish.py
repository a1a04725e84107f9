"""The street teacher as it is published: the files of a transformers model, in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from cache_schema.durable import make_folder, write_atomic
from stages.cache_teacher.teachers.checkpoint import CONFIG, PROCESSOR, WEIGHTS
from stages.cache_teacher.teachers.street.model import StreetDepthForDepthEstimation
from stages.cache_teacher.teachers.street.processor import processor_settings


def publish(network: nn.Module, folder: Path, *, height: int, width: int) -> None:
    """Write weights, config and the settings of the image processor, as `save_pretrained` lays them out.

    Kernels and matrices are stored as float16, half the bytes for a rounding that no prediction shows; the rest, such
    as the statistics of the normalisations, as float32.
    """
    assert isinstance(network, StreetDepthForDepthEstimation)
    make_folder(folder)
    weights = {
        name: value.detach().cpu().contiguous().to(torch.float16 if value.ndim > 1 else value.dtype)
        for name, value in network.state_dict().items()
    }
    config = {**network.config.to_diff_dict(), "architectures": [type(network).__name__]}
    write_atomic(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    write_atomic(folder / PROCESSOR, json.dumps(processor_settings(height, width), indent=2) + "\n")
    write_atomic(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
