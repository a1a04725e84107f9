"""The manifest on disk: the attribute `fsmde` of the root group."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import zarr
from pydantic import ValidationError
from zarr.errors import ContainsArrayError, NodeNotFoundError, ZarrUserWarning

from cache_schema.durable import sync_file, sync_folder
from cache_schema.errors import CacheCorruptError, CacheMismatchError, CacheMissingError
from cache_schema.layout import MANIFEST_KEY
from cache_schema.manifest import SCHEMA_VERSION, Manifest


def write_manifest(cache: Path, manifest: Manifest) -> None:
    """Store the manifest durably; a new cache comes into being with it, in one write."""
    stored = manifest.model_dump(mode="json")
    if (cache / "zarr.json").exists():
        zarr.open_group(str(cache), mode="r+").attrs[MANIFEST_KEY] = stored
    else:
        zarr.create_group(str(cache), attributes={MANIFEST_KEY: stored})
    sync_file(cache / "zarr.json")
    sync_folder(cache)


def consolidate(cache: Path) -> None:
    """Gather the metadata of all arrays in the root, so that clients open the cache with one request.

    Only for what is complete: arrays that are added later stay invisible to such clients until the next call.
    """
    with warnings.catch_warnings():
        # zarr's own extension of format 3, and our journal's folder, which is no part of the hierarchy
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(str(cache))
    sync_file(cache / "zarr.json")
    sync_folder(cache)


def read_manifest(cache: Path) -> Manifest:
    """Read the manifest. Raises CacheMissingError, CacheMismatchError (other version) or CacheCorruptError."""
    stored = _stored_attribute(cache)
    version = stored.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CacheMismatchError(
            f"{cache} has schema version {version}, this fsmde reads version {SCHEMA_VERSION}; "
            "use the fsmde that wrote it, or write the cache again"
        )
    try:
        return Manifest.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CacheCorruptError(f"the manifest of {cache} is damaged at {where}: {first['msg']}") from error


def _stored_attribute(cache: Path) -> dict[str, object]:
    try:
        group = zarr.open_group(str(cache), mode="r")
    except (FileNotFoundError, NodeNotFoundError, ContainsArrayError) as error:
        raise CacheMissingError(
            f"no cache at {cache}; make one with: "
            f"fsmde cache-teacher --dataset ddad --root DIR --teacher ID --cache {cache}"
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise CacheCorruptError(f"{cache / 'zarr.json'} is damaged ({error})") from error
    stored = group.attrs.get(MANIFEST_KEY)
    if not isinstance(stored, dict):
        raise CacheMissingError(f"{cache} is a Zarr group but not an fsmde cache: attribute {MANIFEST_KEY!r} is absent")
    return dict(stored)
