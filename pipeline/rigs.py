"""Rigs that a person asks for by number."""

from __future__ import annotations

from collections.abc import Sequence

from cache_schema import Cache
from cache_schema.errors import ConfigError


def refuse_unknown(cache: Cache, split: str, rigs: Sequence[int]) -> None:
    """Raise ConfigError for a rig that the split does not have, CacheError for a split that there is not."""
    count = len(cache.split(split))
    if beyond := [rig for rig in rigs if rig >= count]:
        raise ConfigError(f"split {split} of {cache.location} has no rig {beyond[0]}; expected 0 to {count - 1}")
