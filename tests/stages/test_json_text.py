"""JSON and other text that people wrote: what a file is where it is not what was expected."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from cache_schema.errors import DatasetError
from stages.cache_teacher.datasets.raw_files import read_json
from stages.json_text import BadJsonError, checked_json, json_value

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("data", [b'{"a": 1}', codecs.BOM_UTF8 + b'{"a": 1}', b'[{"a": 1}, {"a": 2}]', b'"a: {"'])
def test_json_in_utf8_is_read_with_or_without_a_mark(data: bytes) -> None:
    assert checked_json(data) == data.removeprefix(codecs.BOM_UTF8).decode()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ('{"ä": 1}'.encode("utf-16"), "is UTF-16 text; save it as UTF-8, or convert it with: iconv -f UTF-16 -t UTF-8"),
        ('{"ä": 1}'.encode("utf-16-le"), "UTF-16 without its mark; .* iconv -f UTF-16LE"),
        ('{"ä": 1}'.encode("utf-16-be"), "UTF-16 without its mark; .* iconv -f UTF-16BE"),
        ('{"ä": 1}'.encode("utf-32"), "is UTF-32 text"),
        ('{"a":\n "Köln"}'.encode("cp1252"), "byte 0xf6 in line 2, perhaps cp1252 or latin-1; .* iconv -f cp1252"),
        (b"\x1f\x8b\x08\x00gzip", "byte 0x8b in line 1, and no text"),
        (b"", "is empty"),
        (b"\0" * 512, "nothing but zero bytes"),
        (POINTER, "a pointer of Git LFS, not the file itself: git lfs pull"),
    ],
)
def test_a_file_that_is_no_utf8_is_named_for_what_it_is(data: bytes, found: str) -> None:
    with pytest.raises(BadJsonError, match=found):
        checked_json(data)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1,\n "b": 2, "a": 3}', "the key 'a' twice in one object, at line 1, column 2 and at line 2, column 10"),
        ('[{"x": {"y": [1, {"z": 1, "z": 1}]}}]', "'z' twice"),
        ('{"\\u00e4": 1, "ä": 2}', "'ä' twice"),
        ('{"a{\\"": {"q": 1}, "a{\\"": 2}', "twice"),
        ('{"a": 1, "a": 1}{', "'a' twice"),
    ],
)
def test_a_key_that_is_said_twice_is_refused_with_both_places(text: str, found: str) -> None:
    with pytest.raises(BadJsonError, match=found):
        checked_json(text.encode())


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" * 5000, '{"a": NaN}'])
def test_what_else_is_wrong_is_left_to_the_parser(text: str) -> None:
    assert checked_json(text.encode()) == text


@pytest.mark.parametrize(
    ("text", "found"), [("{", "is not JSON"), ("[" * 100_000, "nests deeper"), ("9" * 5000, "4300")]
)
def test_values_that_no_parser_takes(text: str, found: str) -> None:
    with pytest.raises(BadJsonError, match=found):
        json_value(text.encode())


def test_a_dataset_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "scene.json"
    file.write_text('{"rigs": [], "rigs": []}')
    with pytest.raises(DatasetError, match=r"scene\.json: Invalid JSON: it has the key 'rigs' twice"):
        read_json(file)
    file.write_bytes(POINTER)
    with pytest.raises(DatasetError, match=r"scene\.json: is a pointer of Git LFS"):
        read_json(file)
