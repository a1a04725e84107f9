"""Settings in YAML 1.2, read so that nothing a person wrote is taken for something else or lost.

PyYAML reads YAML 1.1, where 010 is 8, 1:30 is 90, `no` is false and 2026-01-01 a date, and keeps the last of several
equal keys without a word.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MOST_VALUES = 100_000
"""Values of one file, with every alias written out."""

_TEXT = "tag:yaml.org,2002:str"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_BASES = {"0o": 8, "0x": 16}


class YamlTextError(ValueError):
    """Says what is wrong with YAML text, and where."""


def parse_yaml(text: str) -> Any:
    """What YAML text says: mappings with text and numbers for keys, lists, text, numbers, truth values and None.

    Raises YamlTextError where it does not parse, says a key twice, or is more than one document.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if loader.checked(node, {}) > MOST_VALUES:
            raise YamlTextError(f"its aliases unfold to more than {MOST_VALUES} values; expected settings")
        return loader.construct_document(node)
    except RecursionError as error:
        raise YamlTextError("nests deeper than settings do") from error
    except (yaml.YAMLError, ValueError, LookupError) as error:
        raise YamlTextError(_told(error)) from error


def _told(error: Exception) -> str:
    if isinstance(error, ComposerError) and error.problem_mark and "single document" in (error.context or ""):
        return f"holds another document from line {error.problem_mark.line + 1} (---); expected one"
    return " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """PyYAML's reader with the values of YAML 1.2's core schema, and with merge keys (`<<`), which people use."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - so it is declared in PyYAML
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def checked(self, node: Node, known: dict[int, int]) -> int:
        """Values below a node, each alias counted as what it stands for.

        Raises YamlTextError for a node that holds itself, and for equal keys. That is before merge keys are followed,
        which lay the keys of one mapping under those of another.
        """
        if id(node) not in known:
            known[id(node)] = 0  # while its parts are counted
            if isinstance(node, MappingNode):
                self._check_keys(node)
            parts = node.value if isinstance(node, SequenceNode | MappingNode) else []
            inner = [each for part in parts for each in (part if isinstance(part, tuple) else (part,))]
            known[id(node)] = 1 + sum(self.checked(each, known) for each in inner)
        elif known[id(node)] == 0:
            raise YamlTextError(f"has an alias to what holds it, in {_place(node)}")
        return known[id(node)]

    def _check_keys(self, node: MappingNode) -> None:
        """Equal are keys that look equal, and numbers of one value; `true` and `null` are names where they are keys."""
        keys: dict[object, Node] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise YamlTextError(f"has a list or mapping for a key, in {_place(key)}; expected a name")
            if key.tag not in _NUMBERS and key.value != "<<":
                key.tag = _TEXT
            for same in {key.value, self.construct_object(key) if key.tag in _NUMBERS else key.value}:
                if same in keys:
                    raise YamlTextError(f"has the key {key.value!r} twice, in {_place(keys[same])} and {_place(key)}")
                keys[same] = key

    def _int(self, node: ScalarNode) -> int:
        digits = node.value.lstrip("+-")
        base = _BASES.get(digits[:2])
        value = int(digits, 10) if base is None else int(digits[2:], base)
        return -value if node.value.startswith("-") else value


def _place(node: Node) -> str:
    return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", [*"-+."]),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), _first)
_safe: Any = yaml.SafeLoader
for _tag, _construct in {
    "null": _safe.construct_yaml_null,
    "bool": _safe.construct_yaml_bool,
    "int": _Loader._int,
    "float": _safe.construct_yaml_float,
    "str": _safe.construct_yaml_str,
    "seq": _safe.construct_yaml_seq,
    "map": _safe.construct_yaml_map,
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
_Loader.add_constructor(None, _safe.construct_undefined)
