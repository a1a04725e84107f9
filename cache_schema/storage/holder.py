"""Who holds a cache, in words."""

from __future__ import annotations

from cache_schema.storage.base import Owner


def holder(owner: Owner | None) -> str:
    """How a message names whoever writes to a cache; None where its record cannot be understood."""
    return "another process" if owner is None else f"process {owner.process} on host {owner.host}"
