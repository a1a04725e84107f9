"""Settings from a YAML file, from `--set key=value` and from options, in rising order of precedence."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cache_schema.errors import ConfigError
from pipeline.yaml_text import YamlTextError, parse_yaml
from stages.explain import explain
from stages.text import UnreadableTextError, decoded
from stages.user_path import means_home, user_path

Settings = TypeVar("Settings", bound=BaseModel)


def build(
    model: type[Settings],
    file: Path | None,
    assignments: Sequence[str],
    options: Mapping[str, Any],
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings of one stage. `options` maps dotted keys to values; those that are None were not given.

    Of several assignments to one key the last counts, as of an option that is given twice: scripts add their own.
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
    merged = _with_home(merged)
    return validated(model, merged, "settings" if file is None else f"settings in {file}")


def validated(model: type[Settings], settings: Mapping[str, Any], called: str) -> Settings:
    """Settings in groups as what they are meant to be.

    Raises ConfigError naming every wrong key at once, each with the nearest known one.
    """
    try:
        made = model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{called}: {explain(model, error)}") from error
    taken = dict(_values(made.model_dump()))
    wrong = [f"{key}: {says}" for key, value in taken.items() if (says := _no_setting(value))]
    wrong += [
        f"{key}: {says}" for key, value in _values(settings) if key in taken and (says := _guess(value, taken[key]))
    ]
    if wrong:
        raise ConfigError(f"{called}: {'; '.join(wrong)}")
    return made


def assigned(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in groups with some changed, by dotted keys; the given ones stay as they are.

    Raises ConfigError, also for changes that say one setting twice, as {a.b: 1, a: {b: 2}}.
    """
    merged = copy.deepcopy(dict(settings))
    said: set[str] = set()
    for key in (key for change, value in changes.items() for key, _ in _values(value, change)):
        if key in said:
            raise ConfigError(f"{key} is set twice, under two spellings; expected it once")
        said.add(key)
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
        content = parse_yaml(decoded(file.read_bytes()))
    except OSError as error:
        raise _unreadable(option, file, str(error)) from error
    except (UnreadableTextError, YamlTextError) as error:
        raise _unreadable(option, file, str(error)) from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{option} {file} holds a {type(content).__name__}; expected settings as key: value")
    return (content or {}) if empty else _without_empty(content or {})


def _unreadable(option: str, file: Path, reason: str) -> ConfigError:
    return ConfigError(f"{option} {file} cannot be read ({reason}); expected a YAML file of settings")


def _without_empty(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without the keys that were left empty: those keep their defaults."""
    filled = {key: value for key, value in settings.items() if value is not None}
    return {key: _without_empty(value) if isinstance(value, dict) else value for key, value in filled.items()}


def _parse(assignment: str, value: str) -> Any:
    try:
        return parse_yaml(value)
    except YamlTextError as error:
        raise ConfigError(f"--set {assignment!r}: the value is not valid YAML ({error})") from error


def _with_home(value: Any) -> Any:
    """Settings with the home folder for ~ at the beginning of paths. Raises ConfigError."""
    if isinstance(value, Mapping):
        return {key: _with_home(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_home(inner) for inner in value]
    return str(user_path(value)) if isinstance(value, str) and means_home(value) else value


def _values(settings: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values in settings with their dotted keys; those of lists by number."""
    parts: Iterable[tuple[Any, Any]] = settings.items() if isinstance(settings, Mapping) else ()
    parts = enumerate(settings) if isinstance(settings, list | tuple) else parts
    inner = [found for name, part in parts for found in _values(part, f"{key}.{name}" if key else str(name))]
    yield from inner or [(key, settings)]


def _no_setting(value: Any) -> str | None:
    """What is wrong with a value whatever it is for: no computer can store or find it."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number (got {value})"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "expected a number that fits 64 bits"
    if isinstance(value, str) and value != value.encode(errors="replace").decode():
        return "expected text in UTF-8, as caches and results keep it; rename the folder"
    return "expected text without a zero byte" if isinstance(value, str | Path) and "\0" in str(value) else None


def _guess(given: Any, taken: Any) -> str | None:
    """What is wrong with a value that pydantic took for one of another kind: true for 1, or "3" for 3.

    Its own strict mode would do it, but takes no list for a tuple and no text for a path. Words stay: `no` is false.
    """
    found, expected = _kind(given), _kind(taken)
    if found == expected or expected is None or (found, expected) == ("a number", "text"):
        return None
    if found == "text" and _is_quoted_number(given):
        return f"expected {expected} without quotation marks (got {given!r})"
    if found == "text":
        return f"expected {expected} (got {given!r})" if expected == "a number" and _is_pythons_number(given) else None
    return f"expected {expected} (got {str(given).lower()})" if found else None


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else "text" if isinstance(value, str | Path) else None


def _is_pythons_number(text: str) -> bool:
    """Whether Python reads text as a number; 1_000 is one to it, and a word to YAML."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_quoted_number(text: str) -> bool:
    """Whether text is what YAML reads as a number, unless it is quoted; 1_000 and 3-5 are words to it."""
    try:
        found = parse_yaml(text)
    except YamlTextError:
        return False
    return isinstance(found, int | float) and not isinstance(found, bool)


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
