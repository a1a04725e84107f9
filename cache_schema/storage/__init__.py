"""Where a cache lies: a folder, or a prefix in an object store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from cache_schema.storage.base import Owner, Storage
from cache_schema.storage.local import LocalStorage

__all__ = ["LocalStorage", "Owner", "Storage", "open_storage"]


def open_storage(location: str | Path) -> Storage:
    """The storage at a folder, or at a URL such as s3://bucket/prefix, gs://… or memory://name.

    Raises CacheError for a URL that cannot be used, or where the extra `remote` is not installed.
    """
    text = str(location)
    if "://" not in text:
        return LocalStorage(Path(location))
    if urlsplit(text).scheme == "file":
        return LocalStorage(Path(urlsplit(text).path))
    from cache_schema.storage.remote import ObjectStorage

    return ObjectStorage(text)
