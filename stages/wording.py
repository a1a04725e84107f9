"""Numbers, and other libraries' errors, as people read them."""

from __future__ import annotations

LONGEST = 300
"""Characters of another library's message that a line of ours has room for."""
UNITS = ("B", "kB", "MB", "GB", "TB")


def counted(count: int, noun: str) -> str:
    """A number of things: `1 rig`, `2 rigs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(byte_count: int | float) -> str:
    """So many bytes, in three digits: `312 B`, `87.0 kB`, `1.32 MB`."""
    power = 0
    while byte_count >= 999.5 and power < len(UNITS) - 1:
        byte_count, power = byte_count / 1000, power + 1
    decimals = 0 if power == 0 else 2 if byte_count < 9.995 else 1 if byte_count < 99.95 else 0
    return f"{byte_count:.{decimals}f} {UNITS[power]}"


def one_line(error: Exception) -> str:
    """The error's kind and message on one line, cut where a library goes on for pages."""
    message = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {message if len(message) <= LONGEST else message[:LONGEST] + '…'}"
