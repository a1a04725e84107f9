"""Whether a cache is still what was written: every byte against the journal, every chunk against its checksum."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cache_schema.arrays import ArraySpec
from cache_schema.errors import CacheCorruptError, CacheError
from cache_schema.groups import Group, Shard, groups_of
from cache_schema.journal import FileRecord, GroupRecord, Journal, ShardRecord
from cache_schema.layout import JOURNAL, MANIFEST_COPY, ROOT, STATE_FOLDER
from cache_schema.manifest import Manifest, Record
from cache_schema.manifest_file import read_copy, read_manifest
from cache_schema.metadata import group_documents
from cache_schema.shards import ShardBytes, layout_of
from cache_schema.storage import Storage


class Damage(Record):
    """Something that is not as it was written."""

    file: str
    """Key in the cache."""
    reason: str
    split: str | None = None
    teacher: str | None = None
    """Whose targets they are; none for frames."""
    array: str | None = None
    shard: int | None = None
    """The shard to do again; none where the file is in no shard."""
    rigs: tuple[int, int] | None = None
    """The rigs that cannot be read, from the first to before the last."""


class Verification(Record):
    """What was found. A cache is sound where there is no damage, complete where nothing is missing yet."""

    location: str
    files: int
    bytes_read: int
    damages: tuple[Damage, ...]
    incomplete: tuple[str, ...]
    """Groups that stage 1 has not finished."""
    strays: tuple[str, ...]
    """Files that belong to no part of the cache. They do no harm."""


@dataclass(frozen=True)
class _Check:
    """A file to be read, what is known about it and, for the file of an array, how it lies in chunks."""

    key: str
    known: FileRecord
    group: Group
    array: ArraySpec | None = None
    shard: Shard | None = None


def verify(storage: Storage, threads: int = 4) -> Iterator[int | Verification]:
    """Read the whole cache; gives the bytes of each file as it is done, and at last what was found.

    Raises CacheMissingError where there is no cache, CacheCorruptError where its manifest and the copy are both
    damaged.
    """
    manifest, damages = sound_manifest(storage)
    checks: list[_Check] = []
    for group in groups_of(manifest):
        found, wrong = _expected(storage, group)
        checks += found
        damages += wrong
    begun = {check.group.path for check in checks}
    damages += _consolidated(storage, manifest)
    total = 0
    with ThreadPoolExecutor(threads) as pool:
        for size, wrong in pool.map(lambda check: _look(storage, check), checks):
            total += size
            damages += wrong
            yield size
    known = {check.key for check in checks} | {damage.file for damage in damages} | {ROOT, MANIFEST_COPY}
    for group in groups_of(manifest):
        known |= {group.key(array, shard.index) for shard in group.shards for array in group.arrays}
        known |= {*group_documents(manifest, group), *map(group.key, group.whole_arrays)}
    yield Verification(
        location=storage.location,
        files=len(checks),
        bytes_read=total,
        damages=tuple(damages),
        incomplete=tuple(group.path for group in groups_of(manifest) if not group.complete and group.path in begun),
        strays=tuple(key for key in storage.keys("") if key not in known and not key.startswith(STATE_FOLDER)),
    )


def refuse_without_journal(storage: Storage, manifest: Manifest) -> None:
    """Raise CacheCorruptError where a finished cache has no journal at all: it was copied without its dot files."""
    if any(group.complete for group in groups_of(manifest)) and not storage.keys(JOURNAL):
        raise CacheCorruptError(
            f"{storage.location} lacks {JOURNAL}, which says what is finished and what every file was: it was copied"
            f" without the files whose names begin with a dot. Copy {STATE_FOLDER} too, as cp -a SOURCE/. and rsync -a"
            " SOURCE/ do; it can be trained on and evaluated without, but not checked or added to"
        )


def planned_bytes(storage: Storage) -> int:
    """Bytes that `verify` would read."""
    manifest, _ = sound_manifest(storage)
    return sum(check.known.size for group in groups_of(manifest) for check in _expected(storage, group)[0])


def sound_manifest(storage: Storage) -> tuple[Manifest, list[Damage]]:
    """The manifest, from its copy where the root is damaged, and what is wrong with either.

    Raises the root's error where the copy is of no use.
    """
    try:
        manifest = read_manifest(storage)
    except CacheError as error:
        try:
            return read_copy(storage), [Damage(file=ROOT, reason=str(error))]
        except CacheError:
            raise error from None
    try:
        same = read_copy(storage) == manifest
    except CacheError as error:
        return manifest, [Damage(file=MANIFEST_COPY, reason=str(error))]
    reason = "it is not that of the root: a run died while writing it; stage 1 started again or --repair renews it"
    return manifest, [] if same else [Damage(file=MANIFEST_COPY, reason=reason)]


def _expected(storage: Storage, group: Group) -> tuple[list[_Check], list[Damage]]:
    """The files of a group to look at, and what is wrong with its journal."""
    journal = Journal(storage, group.path)
    try:
        whole = journal.group()
    except CacheCorruptError as error:
        whole, damages = None, [_damage(journal.group_key, str(error), group)]
    else:
        lost = whole is None and group.complete
        damages = [_damage(journal.group_key, "the record is lost", group)] if lost else []
    arrays = {group.key(array): array for array in group.whole_arrays}
    checks = [_Check(key, known, group, arrays.get(key)) for key, known in (whole.files if whole else {}).items()]
    entries = journal.entries()
    for shard in group.shards:
        key = journal.key(shard.index)
        entry = entries.pop(key, None)
        wrong = _contradiction(group, shard, entry, whole)
        if wrong and (entry is not None or group.complete):
            damages.append(_damage(key, wrong, group, shard=shard, rigs=(shard.start, shard.stop)))
        elif isinstance(entry, ShardRecord):
            files = {group.key(array, shard.index): array for array in group.arrays}
            checks += [_Check(key, known, group, files[key], shard) for key, known in entry.files.items()]
    damages += [_damage(key, "the journal speaks of a shard that the cache does not have", group) for key in entries]
    return checks, damages


def _contradiction(
    group: Group, shard: Shard, entry: ShardRecord | CacheCorruptError | None, whole: GroupRecord | None
) -> str:
    """What is wrong with a shard's record; nothing where all is well."""
    if entry is None:
        return "the journal has no record of the shard"
    if isinstance(entry, CacheCorruptError):
        return str(entry)
    expected = (shard.start, shard.stop, {group.key(array, shard.index) for array in group.arrays})
    if (entry.start, entry.stop, set(entry.files)) != expected:
        return "the journal's record contradicts the manifest"
    if whole is not None and entry.config_sha256 != whole.config_sha256:
        return "the shard was made with other settings than its group"
    return ""


def _look(storage: Storage, check: _Check) -> tuple[int, list[Damage]]:
    """Read one file and compare it with all that is known about it."""
    shard = check.shard
    whole = None if shard is None else (shard.start, shard.stop)
    try:
        data = storage.read(check.key)
    except (FileNotFoundError, CacheError) as error:
        reason = "the file is lost" if isinstance(error, FileNotFoundError) else str(error)
        return 0, [_damage(check.key, reason, check.group, check.array, shard, whole)]
    matches = FileRecord.of(data) == check.known
    rigs = None if check.array is None else _damaged_rigs(data, check)
    if matches and rigs is None:
        return len(data), []
    reason = "the bytes do not match the journal's SHA-256" if not matches else "a chunk does not match its checksum"
    if len(data) != check.known.size:
        reason = f"the file has {len(data)} bytes, the journal says {check.known.size}"
    if FileRecord.of(data.replace(b"\r\n", b"\n")) == check.known:
        reason = "its line ends were changed, as git does to text: copy it anew, with `* -text` in .gitattributes"
    return len(data), [_damage(check.key, reason, check.group, check.array, shard, rigs or whole)]


def _damaged_rigs(data: bytes, check: _Check) -> tuple[int, int] | None:
    """From the first to the last rig whose chunks do not match their checksums; none where all do."""
    array, group, shard = check.array, check.group, check.shard
    assert array is not None
    layout = layout_of(array, array.shape(group.sizes), group.record.shard_rigs)
    start, rows = (shard.start, shard.rigs) if shard else (0, layout.shape[0])
    try:
        cells = ShardBytes(data, layout).damaged_cells(rows)
    except ValueError:
        return start, start + rows
    if not cells:
        return None
    rigs = layout.chunk[0]
    return start + min(c[0] for c in cells) * rigs, start + min((max(c[0] for c in cells) + 1) * rigs, rows)


def _consolidated(storage: Storage, manifest: Manifest) -> list[Damage]:
    """What the root says about arrays and groups must be what they say themselves."""
    try:
        root = json.loads(storage.read(ROOT))
    except (FileNotFoundError, ValueError):
        return []  # reported with the manifest
    stored = (root.get("consolidated_metadata") or {}).get("metadata", {})
    own: dict[str, dict[str, object]] = {}
    try:
        for key in _metadata_files(storage, manifest):
            own[key.removesuffix(f"/{ROOT}")] = json.loads(storage.read(key))
    except (FileNotFoundError, ValueError, CacheCorruptError):
        return []  # reported by itself
    if {path: _plain(node) for path, node in stored.items()} != {path: _plain(node) for path, node in own.items()}:
        return [Damage(file=ROOT, reason="its consolidated metadata is not that of the arrays")]
    return []


def _metadata_files(storage: Storage, manifest: Manifest) -> set[str]:
    """The zarr.json files of what is complete. Raises FileNotFoundError or CacheCorruptError where a record is none."""
    keys: set[str] = set()
    for group in groups_of(manifest):
        if group.complete:
            record = Journal(storage, group.path).group()
            if record is None:
                raise FileNotFoundError(group.path)
            keys |= {key for key in record.files if key.endswith(f"/{ROOT}")}
    return keys


def _plain(node: dict[str, object]) -> dict[str, object]:
    """A node's metadata without its place for those below it, which only one of the two has."""
    return {key: value for key, value in node.items() if key != "consolidated_metadata"}


def _damage(
    key: str,
    reason: str,
    group: Group,
    array: ArraySpec | None = None,
    shard: Shard | None = None,
    rigs: tuple[int, int] | None = None,
) -> Damage:
    return Damage(
        file=key,
        reason=reason,
        split=group.split,
        teacher=group.teacher,
        array=None if array is None else array.name,
        shard=None if shard is None else shard.index,
        rigs=rigs,
    )


def describe(damage: Damage) -> str:
    """A damage in one line."""
    rigs = "" if damage.rigs is None else f" rigs {damage.rigs[0]}..{damage.rigs[1]}"
    return f"{damage.file}{rigs}: {damage.reason}"
