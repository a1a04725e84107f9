"""What other libraries say went wrong, fit for one line of ours."""

from __future__ import annotations

LONGEST = 300


def one_line(error: Exception) -> str:
    """The error's kind and message on one line, cut where a library goes on for pages."""
    message = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {message if len(message) <= LONGEST else message[:LONGEST] + '…'}"
