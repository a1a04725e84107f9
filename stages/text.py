"""Text files that other people and programs wrote: UTF-8, or what they are instead."""

from __future__ import annotations

import codecs
from pathlib import Path

_POINTER = b"version https://git-lfs.github.com/spec/"
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
POINTER = "is a pointer of Git LFS, not the file itself: git lfs pull fetches it"


class UnreadableTextError(ValueError):
    """Says what a file is instead of UTF-8 text, and what mends it."""


def is_pointer(data: bytes) -> bool:
    """Whether these are the first bytes of what Git LFS leaves in the place of a large file."""
    return data.startswith(_POINTER)


def is_pointer_file(path: Path) -> bool:
    """Whether a file is such a pointer; one that cannot be read is none."""
    try:
        with path.open("rb") as file:
            return is_pointer(file.read(len(_POINTER)))
    except OSError:
        return False


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises UnreadableTextError where it is of another encoding, or no text at all.
    """
    for mark, encoding in _ENCODINGS.items():
        if data.startswith(mark):
            raise UnreadableTextError(_to_convert(f"is {encoding} text", encoding))
    if data and not data.strip(b"\0"):
        raise UnreadableTextError("holds nothing but zero bytes, as a file does after a power cut")
    if 0 in data[:2] and max(data[:2]) < 0x80:  # JSON and YAML begin with characters of ASCII
        byte_order = "UTF-16BE" if data[0] == 0 else "UTF-16LE"
        raise UnreadableTextError(_to_convert("looks like UTF-16 without its mark", byte_order))
    if is_pointer(data):
        raise UnreadableTextError(POINTER)
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise UnreadableTextError(_other_encoding(data, error.start)) from error


def _other_encoding(data: bytes, start: int) -> str:
    line = data.count(b"\n", 0, start) + 1
    found = f"is not UTF-8: byte 0x{data[start]:02x} in line {line}"
    if any(byte < 9 for byte in data[:1024]):
        return f"{found}, and no text"
    return _to_convert(f"{found}, perhaps cp1252 or latin-1", "cp1252")


def _to_convert(found: str, encoding: str) -> str:
    return f"{found}; save it as UTF-8, or convert it with: iconv -f {encoding} -t UTF-8"
