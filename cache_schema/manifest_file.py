"""The manifest on disk: the attribute `fsmde` of the root group, its digest beside it, and a copy to mend it from."""

from __future__ import annotations

import json

from pydantic import ValidationError

from cache_schema.errors import CacheCorruptError, CacheMismatchError, CacheMissingError
from cache_schema.layout import MANIFEST_COPY, MANIFEST_DIGEST_KEY, MANIFEST_KEY, ROOT
from cache_schema.manifest import SCHEMA_VERSION, Manifest, manifest_attributes, stored_digest
from cache_schema.metadata import root_document
from cache_schema.places import MAKE_CACHE, cache_around, instead_of_cache
from cache_schema.storage import LocalStorage, Storage


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Store the manifest durably; a new cache comes into being with the root's one write.

    The root comes first: a copy without a root is then a root that was lost.
    """
    storage.write({ROOT: root_document(manifest)})
    write_copy(storage, manifest)


def write_copy(storage: Storage, manifest: Manifest) -> None:
    """Store the copy of the manifest durably."""
    storage.write({MANIFEST_COPY: json.dumps(manifest_attributes(manifest)).encode() + b"\n"})


def cache_exists(storage: Storage) -> bool:
    """Whether there is a cache, sound or damaged."""
    return storage.exists(ROOT) or storage.exists(MANIFEST_COPY)


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest. Raises CacheMissingError, CacheMismatchError (other version) or CacheCorruptError."""
    try:
        attributes = json.loads(storage.read(ROOT)).get("attributes", {})
    except FileNotFoundError as error:
        if storage.exists(MANIFEST_COPY):
            raise _damaged(storage, ROOT, "it is lost") from error
        raise CacheMissingError(f"no cache at {storage.location}; {_instead(storage)}") from error
    except (ValueError, AttributeError) as error:
        raise _damaged(storage, ROOT, str(error)) from error
    return _parse(storage, ROOT, attributes)


def read_copy(storage: Storage) -> Manifest:
    """Read the copy of the manifest. Raises CacheMissingError, CacheMismatchError or CacheCorruptError."""
    try:
        stored = json.loads(storage.read(MANIFEST_COPY))
    except FileNotFoundError as error:
        raise CacheMissingError(f"{storage.path(MANIFEST_COPY)} is lost") from error
    except ValueError as error:
        raise _damaged(storage, MANIFEST_COPY, str(error)) from error
    return _parse(storage, MANIFEST_COPY, stored)


def _parse(storage: Storage, key: str, attributes: object) -> Manifest:
    stored = attributes.get(MANIFEST_KEY) if isinstance(attributes, dict) else None
    if not isinstance(attributes, dict) or not isinstance(stored, dict):
        if storage.exists(MANIFEST_COPY):
            raise _damaged(storage, key, f"attribute {MANIFEST_KEY!r} is absent")
        if isinstance(storage, LocalStorage) and cache_around(storage.root) is not None:  # its groups and arrays
            raise CacheMissingError(f"no cache at {storage.location}; {instead_of_cache(storage.root)}")
        raise CacheMissingError(
            f"{storage.location} is a Zarr group but not an fsmde cache: attribute {MANIFEST_KEY!r} is absent; "
            "use another folder"
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
        raise _damaged(storage, key, f"at {where}: {first['msg']}") from error
    if stored_digest(stored) != attributes.get(MANIFEST_DIGEST_KEY):
        raise _damaged(storage, key, "it does not match its digest")
    return manifest


def _instead(storage: Storage) -> str:
    if isinstance(storage, LocalStorage):
        return instead_of_cache(storage.root)
    return f"make one with: {MAKE_CACHE.format('ddad', 'DIR', storage.location)}"


def _damaged(storage: Storage, key: str, reason: str) -> CacheCorruptError:
    return CacheCorruptError(
        f"the manifest in {storage.path(key)} is damaged ({reason}); mend it with: "
        f"fsmde verify {storage.location} --repair"
    )
