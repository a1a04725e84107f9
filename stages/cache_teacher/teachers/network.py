"""The network of a teacher, loaded in float32 from safetensors, quietly and without running foreign code."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_DEPTH_ESTIMATION_MAPPING
from transformers.utils import logging as transformers_logging

from cache_schema.errors import TeacherError
from stages.cache_teacher.teachers.checkpoint import CONFIG, Checkpoint
from stages.cache_teacher.teachers.street.model import MODEL_TYPE as STREET  # registers the model, too
from stages.wording import one_line

ARCHITECTURES = ("depth_anything", "depth_pro", "dpt", "glpn", "zoedepth", STREET)
"""Types of depth models whose processor, output and backbone are known: of transformers', and ours."""


def load_config(checkpoint: Checkpoint) -> Any:
    """The transformers config of a depth model, without its weights.

    Raises TeacherError for a checkpoint that is not a depth model, and for settings transformers cannot use.
    """
    model_type = checkpoint.config.get("model_type")
    if model_type == "prompt_depth_anything":
        raise TeacherError(
            "Prompt Depth Anything needs a depth measurement beside the image, and without one its output is depth"
            " with an unknown shift, which no teacher kind describes; use a Depth Anything checkpoint"
        )
    if model_type not in ARCHITECTURES:
        raise TeacherError(
            f"teacher {checkpoint.id} is a {model_type!r} model, not a depth estimator that fsmde can read:"
            f" expected one of {', '.join(ARCHITECTURES)}"
        )
    try:
        with _quiet():
            return AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises what it likes for a config it cannot use
        raise TeacherError(
            f"teacher {checkpoint.id} cannot be loaded: transformers refuses {checkpoint.folder / CONFIG}:"
            f" {one_line(error)}"
        ) from error


def network_class(config: Any) -> Any:
    """The class, of transformers or ours, that a depth model's config belongs to."""
    return MODEL_FOR_DEPTH_ESTIMATION_MAPPING[type(config)]


def load_network(checkpoint: Checkpoint, config: Any) -> tuple[nn.Module, tuple[str, ...]]:
    """Load the network in evaluation mode; beside it the names of weights that the files did not hold.

    `config` is that of `load_config`. Missing weights are set to NaN rather than left random. Many published
    checkpoints leave out a few that their architecture declares and never uses; where one is used, the output is
    NaN and is refused.

    Raises TeacherError for weights that cannot be read or do not fit the config.
    """
    try:
        with _quiet():
            network, report = network_class(config).from_pretrained(
                checkpoint.folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises what it likes for a config or a file it cannot use
        raise TeacherError(
            f"teacher {checkpoint.id} cannot be loaded from {checkpoint.folder}: {one_line(error)}"
        ) from error
    missing = tuple(sorted(report["missing_keys"]))
    _poison(network, missing)
    return network.eval().requires_grad_(False), missing


def patch_px(config: Any) -> int:
    """Side of the patch that a transformers config cuts its input into, in pixels; 1 where it cuts none."""
    for owner in (getattr(config, "backbone_config", None), config):
        patch = getattr(owner, "patch_size", None)
        if patch is not None:
            return patch if isinstance(patch, int) else max(patch)
    return 1


def _poison(network: nn.Module, names: Collection[str]) -> None:
    held = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        for name in names:
            if name in held and held[name].is_floating_point():
                held[name].fill_(torch.nan)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bar and its report of missing weights, which is handled here."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    if bars:
        transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
