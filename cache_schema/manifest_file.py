"""The manifest on disk: the attribute `fsmde` of the root group, with its digest beside it."""

from __future__ import annotations

import json

from pydantic import ValidationError

from cache_schema.errors import CacheCorruptError, CacheMismatchError, CacheMissingError
from cache_schema.layout import MANIFEST_DIGEST_KEY, MANIFEST_KEY, ROOT
from cache_schema.manifest import SCHEMA_VERSION, Manifest, record_digest
from cache_schema.metadata import root_document
from cache_schema.storage import Storage


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Store the manifest durably; a new cache comes into being with it, in one write."""
    storage.write({ROOT: root_document(manifest)})


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest. Raises CacheMissingError, CacheMismatchError (other version) or CacheCorruptError."""
    attributes = _root_attributes(storage)
    stored = attributes.get(MANIFEST_KEY)
    if not isinstance(stored, dict):
        raise CacheMissingError(
            f"{storage.location} is a Zarr group but not an fsmde cache: attribute {MANIFEST_KEY!r} is absent"
        )
    version = stored.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CacheMismatchError(
            f"{storage.location} has schema version {version}, this fsmde reads version {SCHEMA_VERSION}; "
            "use the fsmde that wrote it, or write the cache again"
        )
    try:
        manifest = Manifest.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CacheCorruptError(f"the manifest of {storage.location} is damaged at {where}: {first['msg']}") from error
    if record_digest(manifest) != attributes.get(MANIFEST_DIGEST_KEY):
        raise CacheCorruptError(
            f"the manifest of {storage.location} is damaged: it does not match its digest; "
            f"bring {storage.path(ROOT)} back from a copy, or write the cache again"
        )
    return manifest


def _root_attributes(storage: Storage) -> dict[str, object]:
    try:
        attributes = json.loads(storage.read(ROOT)).get("attributes", {})
    except FileNotFoundError as error:
        raise CacheMissingError(
            f"no cache at {storage.location}; make one with: "
            f"fsmde cache-teacher --dataset ddad --root DIR --teacher ID --cache {storage.location}"
        ) from error
    except (ValueError, AttributeError) as error:
        raise CacheCorruptError(f"{storage.path(ROOT)} is damaged ({error})") from error
    return attributes if isinstance(attributes, dict) else {}
