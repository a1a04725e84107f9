"""What pydantic found wrong, in words: which key, what was found, and the nearest known key."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

_LONGEST = 120
"""Characters of a wrong value that are shown."""


def explain(model: type[BaseModel], error: ValidationError, most: int | None = None) -> str:
    """All that is wrong with the settings of a model, or the first so many of it, separated by semicolons."""
    found = error.errors()
    more = f"; and {len(found) - most} more" if most is not None and len(found) > most else ""
    return "; ".join(_one(model, each) for each in found[:most]) + more


def _one(model: type[BaseModel], error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "missing":
        return f"{key} is required"
    if error["type"] == "extra_forbidden":
        return _unknown_key(model, location)
    reason = error["msg"].removeprefix("Value error, ")
    return f"{key}: {reason} (got {_shortened(error['input'])})" if key else reason


def _shortened(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _unknown_key(model: type[BaseModel], location: Sequence[str]) -> str:
    if "." in location[-1]:
        *groups, last = location[-1].split(".")
        nested = f"{': {'.join(groups)}: {{{last}: …{'}' * len(groups)}"
        return (
            f"unknown key {location[-1]!r}; settings in a file are nested, as {nested}; keys with dots are for the"
            f" command line, as --set {'.'.join(location)}=…"
        )
    known = _fields(model, location[:-1])
    deeper = [f"{group}.{location[-1]}" for group in known if location[-1] in _fields(model, [*location[:-1], group])]
    near = deeper or difflib.get_close_matches(location[-1], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {'.'.join(location)!r}; {hint}"


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Keys of the group that a path leads to; indices of lists and keys of mappings are passed over."""
    for part in path:
        if part in model.model_fields:
            inner = _model_in(model.model_fields[part].annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is of, or that its list, mapping or choice is of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := _model_in(inner)) is not None), None)
