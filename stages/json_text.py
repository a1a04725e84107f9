"""JSON that other people and programs wrote, checked for what parsers let pass.

Python's parser and pydantic's keep the last of several equal keys without a word, and so would lose what the first
one said.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from stages.text import UnreadableTextError, decoded


def _no_truth_value(given: Any) -> Any:
    """Pydantic takes true for 1, save in strict mode, which takes no list for a tuple and no number in quotation marks.

    Protobuf's JSON may have those.
    """
    if isinstance(given, bool):
        raise ValueError("expected a number")
    return given


Number = Annotated[float, BeforeValidator(_no_truth_value)]
Int64 = Annotated[int, BeforeValidator(_no_truth_value), Field(ge=-(2**63), lt=2**63)]
"""A number that arrays can hold; JSON has any."""
Count = Annotated[int, BeforeValidator(_no_truth_value), Field(ge=0)]
"""How many there are, such as pixels."""

_NAME = re.compile(r'[{}]|"((?:[^"\\]|\\.)*)"(\s*:)?')


class BadJsonError(ValueError):
    """Says what a file is instead of JSON, or where its JSON is ambiguous."""


class _SameKeyError(Exception):
    pass


def json_text(data: bytes) -> str:
    """The text of a JSON file, in UTF-8. Raises BadJsonError."""
    if not data:
        raise BadJsonError("is empty")
    try:
        return decoded(data)
    except UnreadableTextError as error:
        raise BadJsonError(str(error)) from error


def checked_json(data: bytes) -> str:
    """The text of a JSON file, for a parser, which says what else is wrong with it.

    Raises BadJsonError for another encoding than UTF-8, and for a key that an object has twice.
    """
    text = json_text(data)
    try:
        # Numbers are for the real parser; here most of the time would go into them.
        json.loads(text, parse_float=len, parse_int=len, object_pairs_hook=_one_of_each)
    except _SameKeyError as error:
        raise BadJsonError(_doubled_key(text)) from error
    except (ValueError, RecursionError):
        pass
    return text


def json_value(data: bytes) -> Any:
    """What the JSON in a file says. Raises BadJsonError like `checked_json`, and for JSON that does not parse."""
    text = checked_json(data)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadJsonError("nests deeper than any such file does") from error
    except ValueError as error:
        raise BadJsonError(f"is not JSON: {error}") from error


def _doubled_key(text: str) -> str:
    """The first key that an object in JSON text has twice, and where."""
    objects: list[dict[str, int]] = []
    for token in _NAME.finditer(text):
        if token[0] == "{":
            objects.append({})
        elif token[0] == "}":
            objects.pop()
        elif token[2]:
            key: str = json.loads(f'"{token[1]}"')
            if key in objects[-1]:
                first, second = _place(text, objects[-1][key]), _place(text, token.start())
                return f"has the key {key!r} twice in one object, at {first} and at {second}"
            objects[-1][key] = token.start()
    raise AssertionError("one was found before")


def _one_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _SameKeyError
    return found


def _place(text: str, start: int) -> str:
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return f"line {line}, column {column}"
