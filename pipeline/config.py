"""Settings from a YAML file, from `--set key=value` and from options, in rising order of precedence."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cache_schema.errors import ConfigError
from stages.explain import explain

Settings = TypeVar("Settings", bound=BaseModel)


def build(
    model: type[Settings],
    file: Path | None,
    assignments: Sequence[str],
    options: Mapping[str, Any],
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings of one stage. `options` maps dotted keys to values; those that are None were not given.

    `base` holds settings of the lowest precedence, in groups.

    Raises ConfigError naming every wrong key at once, each with the nearest known one.
    """
    merged = layered(base or {}, {} if file is None else read_yaml(file))
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r} is not of the form key=value, for example --set image.height=192")
        _assign(merged, key.strip(), _parse(assignment, value))
    for key, value in options.items():
        if value is not None:
            _assign(merged, key, value)
    return validated(model, merged, "settings" if file is None else f"settings in {file}")


def validated(model: type[Settings], settings: Mapping[str, Any], called: str) -> Settings:
    """Settings in groups as what they are meant to be.

    Raises ConfigError naming every wrong key at once, each with the nearest known one.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{called}: {explain(model, error)}") from error


def assigned(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in groups with some changed, by dotted keys; the given ones stay as they are. Raises ConfigError."""
    merged = copy.deepcopy(dict(settings))
    for key, value in changes.items():
        _assign(merged, key, value)
    return merged


def layered(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in groups, those of `above` over those of `below`."""
    merged = dict(below)
    for key, value in above.items():
        inner = below.get(key)
        merged[key] = layered(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_yaml(file: Path, option: str = "--config", *, empty: bool = False) -> dict[str, Any]:
    """The settings in a file; keys that were left `empty` keep their defaults unless asked for. Raises ConfigError."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{option} {file} cannot be read ({reason}); expected a YAML file of settings") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{option} {file} holds a {type(content).__name__}; expected settings as key: value")
    return (content or {}) if empty else _without_empty(content or {})


def _without_empty(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without the keys that were left empty: those keep their defaults."""
    filled = {key: value for key, value in settings.items() if value is not None}
    return {key: _without_empty(value) if isinstance(value, dict) else value for key, value in filled.items()}


def _parse(assignment: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment!r}: the value is not valid YAML") from error


def _assign(settings: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = settings.get(parent)
        if inner is None:
            inner = settings[parent] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{key}: {parent} is not a group of settings")
        settings = inner
    settings[last] = value
