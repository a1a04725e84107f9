"""Where a teacher's files are: a local folder, the hub's cache on this machine, or the hub itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache

from cache_schema.errors import TeacherError
from stages import hub
from stages.cache_teacher.teachers import street
from stages.json_text import BadJsonError, json_value
from stages.text import POINTER, is_pointer_file
from stages.user_path import user_path

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
WANTED_FROM_HUB = [CONFIG, PROCESSOR, WEIGHTS, WEIGHTS_INDEX, "model-*-of-*.safetensors"]

_OWN_FOLDER = f"pass a folder written by save_pretrained, such as --teacher ./my-teacher, or {street.NAME}, fsmde's own"


@dataclass(frozen=True)
class Checkpoint:
    """The files of one teacher, all present.

    `id` and `revision` are those of `TeacherIdentity`; `weights` are the safetensors files that are loaded,
    sorted by name.
    """

    folder: Path
    id: str
    revision: str | None
    weights: tuple[Path, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The model's settings, as written in its config.json."""
        return _read_json(self.folder / CONFIG)

    @property
    def processor(self) -> dict[str, Any] | None:
        """The image processor's settings as published with the model, None where there are none."""
        path = self.folder / PROCESSOR
        return _read_json(path) if path.is_file() else None

    def weights_sha256(self) -> str:
        """SHA-256 of the weight files, one after the other; of a single file, what the hub shows for it."""
        digest = hashlib.sha256()
        for path in self.weights:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def find_checkpoint(name_or_path: str, revision: str | None = None) -> Checkpoint:
    """Find a teacher's files: an existing folder, else a hub id, looked up in the local hub cache before the hub.

    `street` is the teacher inside the package, also where a folder is called so: that one is `./street`.

    A cached model is taken as it is, without asking whether the hub has a newer one: name the commit as `revision`
    to decide that yourself.

    Raises TeacherError where nothing is found, the hub cannot be reached, or the files are not all there.
    """
    if name_or_path == street.NAME:
        return _of_the_package(revision)
    folder = user_path(name_or_path)
    if folder.is_dir():
        if revision is not None:
            raise TeacherError(
                f"{name_or_path} is a local folder: leave out the revision {revision!r}, it is for hub ids"
            )
        return _complete(folder, id=folder.resolve().name, revision=None)
    refuse_nowhere(name_or_path)
    snapshot = _cached_snapshot(name_or_path, revision) or _download(name_or_path, revision)
    return _complete(snapshot, id=name_or_path, revision=snapshot.name)


def _of_the_package(revision: str | None) -> Checkpoint:
    if revision is not None:
        raise TeacherError(
            f"the teacher {street.NAME} is part of fsmde: leave out the revision {revision!r}, it is for hub ids"
        )
    if not (street.FOLDER / CONFIG).is_file() or not _weight_files(street.FOLDER):
        raise TeacherError(
            f"the teacher {street.NAME} has no weights in {street.FOLDER} yet; train them with: {street.COMMAND}"
            f" (a folder of that name in the current one is --teacher ./{street.NAME})"
        )
    return _complete(street.FOLDER, id=street.NAME, revision=None)


def refuse_nowhere(name_or_path: str) -> None:
    """Raise TeacherError on what is neither the package's teacher nor a folder, and cannot be a hub id either."""
    known = name_or_path == street.NAME or user_path(name_or_path).is_dir()
    if not known and not hub.HUB_ID.fullmatch(name_or_path):
        raise TeacherError(f"no folder {name_or_path}, and it is not a hub id (owner/name) either; {_OWN_FOLDER}")


def _cached_snapshot(repo_id: str, revision: str | None) -> Path | None:
    """The snapshot folder in the hub cache if it holds all that is needed.

    A snapshot without the processor's settings counts as incomplete: other programs cache the model alone, and
    the defaults would feed it images of another size without a word.
    """
    config = try_to_load_from_cache(repo_id, CONFIG, cache_dir=constants.HF_HUB_CACHE, revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    complete = (folder / PROCESSOR).is_file() and _weight_files(folder)
    return folder if complete else None


def _download(repo_id: str, revision: str | None) -> Path:
    teacher = f"teacher {repo_id!r}" + (f" at revision {revision!r}" if revision else "")
    try:
        hub.ask(repo_id, revision)
    except hub.HubError as error:
        raise TeacherError(
            f"{teacher} is not (completely) in the hub cache {constants.HF_HUB_CACHE}, and {error}; {_OWN_FOLDER}"
        ) from error
    try:
        return hub.download(repo_id, WANTED_FROM_HUB, revision)
    except hub.HubError as error:
        raise TeacherError(f"{teacher}: {error}") from error


def _complete(folder: Path, id: str, revision: str | None) -> Checkpoint:  # noqa: A002
    if not (folder / CONFIG).is_file():
        raise TeacherError(f"teacher {id}: {folder} holds no {CONFIG}; {_OWN_FOLDER}")
    weights = _weight_files(folder)
    if not weights:
        raise TeacherError(f"teacher {id}: {folder} {_what_it_holds_instead(folder)}")
    return Checkpoint(folder, id, revision, weights)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that would be loaded, sorted by name; empty where one is missing."""
    single, index = folder / WEIGHTS, folder / WEIGHTS_INDEX
    if single.is_file():
        return (_no_pointer(single),)
    if not index.is_file():
        return ()
    listed = _read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
        raise TeacherError(f"{index} has no weight_map from weights to their files; copy or download it again")
    shards = tuple(folder / name for name in sorted(set(listed.values())))
    return tuple(map(_no_pointer, shards)) if all(shard.is_file() for shard in shards) else ()


def _no_pointer(weights: Path) -> Path:
    if is_pointer_file(weights):
        raise TeacherError(f"{weights} {POINTER}")
    return weights


def _what_it_holds_instead(folder: Path) -> str:
    if (folder / WEIGHTS_INDEX).is_file():
        return f"lacks some of the files that {WEIGHTS_INDEX} names; copy or download it again"
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled:
        return (
            f"holds {pickled[0]} but no {WEIGHTS}, and pickled weights can execute code; convert them once where you"
            " trust them: AutoModelForDepthEstimation.from_pretrained(folder).save_pretrained(folder)"
        )
    return f"holds no {WEIGHTS}; {_OWN_FOLDER}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json_value(path.read_bytes())
    except OSError as error:
        raise TeacherError(f"{path} cannot be read ({error.strerror})") from error
    except BadJsonError as error:
        raise TeacherError(f"{path} {error}") from error
    if not isinstance(value, dict):
        raise TeacherError(f"{path} holds {type(value).__name__}, expected settings as a JSON object")
    return value
