"""Where weights for an encoder come from: a local folder, the hub's cache on this machine, or the hub.

Only safetensors are read, and no code from a hub is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from transformers import ResNetBackbone, ResNetConfig

from cache_schema.errors import ConfigError, TrainingError
from stages.hub import HUB_ID, HubError, ask, download
from stages.json_text import json_value
from stages.text import POINTER, is_pointer_file
from stages.train.config import EncoderConfig
from stages.user_path import user_path

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_REMEDY = (
    f"set encoder_weights to a folder with {CONFIG} and {WEIGHTS} of a ResNet, or to a hub id such as "
    "microsoft/resnet-18, or leave it out to start from random weights"
)


def check_source(source: str, wanted: ResNetConfig) -> None:
    """Raise what loading these weights would raise; of a model on the hub only the settings are downloaded.

    TrainingError where they cannot be had, ConfigError where they are another network's.
    """
    folder = _here(source)
    if folder is None:
        folder = _from_hub(source, [CONFIG])
    refuse_other_network(folder, wanted, source)
    if (folder / WEIGHTS).is_file():
        _refuse_other_weights(folder / WEIGHTS, wanted, source)


def find_weights(source: str) -> Path:
    """The folder of a ResNet's settings and weights, downloaded where they are not here. Raises TrainingError."""
    return _here(source) or _from_hub(source, [CONFIG, WEIGHTS, INDEX, "model-*-of-*.safetensors"])


def refuse_other_network(folder: Path, wanted: ResNetConfig, source: str) -> None:
    """Raise ConfigError where the settings in a folder are those of another network, TrainingError where of none."""
    try:
        stored = json_value((folder / CONFIG).read_bytes())
        if not isinstance(stored, dict):
            raise ValueError(f"it holds {type(stored).__name__}")
        kind = stored.get("model_type", "resnet")
        if kind != "resnet":
            raise ConfigError(f"encoder weights {source!r} are of a {kind!r} model, expected a ResNet; {_REMEDY}")
        found = ResNetConfig.from_dict(stored)
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"encoder weights {source!r}: {folder / CONFIG} cannot be read ({error}); {_REMEDY}"
        ) from error
    names = [name for name in EncoderConfig.model_fields if getattr(found, name) != getattr(wanted, name)]
    if names:
        settings = ", ".join(f"student.encoder.{name}={getattr(found, name)}" for name in names)
        raise ConfigError(f"encoder weights {source!r} are of another network; to use them set {settings}")


def _here(source: str) -> Path | None:
    """The folder that is named, or the hub's cached copy; none where the hub must be asked. Raises TrainingError."""
    folder = user_path(source)
    if folder.is_dir():
        return _complete(folder, source)
    if not HUB_ID.fullmatch(source):
        raise TrainingError(f"encoder weights: no folder {source}, and it is not a hub id (owner/name); {_REMEDY}")
    cached = [try_to_load_from_cache(source, name, cache_dir=constants.HF_HUB_CACHE) for name in (CONFIG, WEIGHTS)]
    return Path(str(cached[0])).parent if all(isinstance(file, str) for file in cached) else None


def _complete(folder: Path, source: str) -> Path:
    if not (folder / CONFIG).is_file():
        raise TrainingError(f"encoder weights {source!r}: the folder holds no {CONFIG}; {_REMEDY}")
    if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        pickled = ", and pickled weights can execute code" if next(folder.glob("*.bin"), None) else ""
        raise TrainingError(f"encoder weights {source!r}: the folder holds no {WEIGHTS}{pickled}; {_REMEDY}")
    return folder


def _from_hub(source: str, wanted: list[str]) -> Path:
    try:
        files = {file.rfilename for file in ask(source).siblings or ()}
        if CONFIG not in files or not files & {WEIGHTS, INDEX}:
            lacks = CONFIG if CONFIG not in files else WEIGHTS
            raise TrainingError(f"encoder weights {source!r}: the model on the hub has no {lacks}; {_REMEDY}")
        return download(source, wanted)
    except HubError as error:
        raise TrainingError(
            f"encoder weights {source!r} are no folder, not in the hub cache {constants.HF_HUB_CACHE}, and {error};"
            f" {_REMEDY}"
        ) from error


def _refuse_other_weights(file: Path, wanted: ResNetConfig, source: str) -> None:
    """Raise TrainingError where a file lacks weights of the network, or has them in other shapes."""
    try:
        with safe_open(file, framework="pt") as stored:
            names = list(stored.keys())
            found = {name.removeprefix("resnet."): tuple(stored.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        found_instead = POINTER if is_pointer_file(file) else f"cannot be read ({error}); {_REMEDY}"
        raise TrainingError(f"encoder weights {source!r}: {file} {found_instead}") from error
    expected = _shapes(wanted)
    if missing := sorted(set(expected) - set(found)):
        raise TrainingError(f"{source} lacks {len(missing)} weights of a ResNet, among them {', '.join(missing[:3])}")
    if other := [name for name, shape in expected.items() if found[name] != shape]:
        raise TrainingError(
            f"encoder weights {source!r}: {other[0]} has the shape {list(found[other[0]])}, which its {CONFIG} says is"
            f" {list(expected[other[0]])}; download or copy both again"
        )


def _shapes(config: ResNetConfig) -> Mapping[str, Any]:
    with torch.device("meta"):  # shapes without numbers
        weights = ResNetBackbone(config).state_dict()
    return {name: tuple(value.shape) for name, value in weights.items() if not name.endswith("num_batches_tracked")}
