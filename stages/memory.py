"""Whether an error says that memory is short, whoever raised it."""

from __future__ import annotations

import errno

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED")
"""What the RuntimeErrors of PyTorch's allocators, and of the libraries under it, say."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that is not there: on the CPU or a device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
    )
