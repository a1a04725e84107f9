"""Where a cache lies: a folder, or a prefix in an object store."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cache_schema.errors import CacheError
from cache_schema.storage.base import Owner, Storage
from cache_schema.storage.local import LocalStorage

__all__ = ["LocalStorage", "Owner", "Storage", "open_storage"]


def open_storage(location: str | Path) -> Storage:
    """The storage at a folder, or at a URL such as s3://bucket/prefix, gs://… or memory://name.

    Raises CacheError for a URL that cannot be used, or where the extra `remote` is not installed.
    """
    text = str(location)
    if re.match(r"[a-z][a-z0-9+.-]+:/[^/]", text):
        raise CacheError(f"{text} is a URL that was taken for a path; give it as text: {text.replace(':/', '://', 1)}")
    if "://" not in text:
        return LocalStorage(Path(location))
    if urlsplit(text).scheme == "file":
        return LocalStorage(Path(unquote(urlsplit(text).path)))
    try:
        from cache_schema.storage.remote import ObjectStorage
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        raise CacheError(
            f"{text}: a cache at a URL needs the package obstore; in the folder of fsmde: pip install -e '.[remote]'"
        ) from error
    return ObjectStorage(text)
