"""The folder of a run: its configuration, and what it was trained on, by what and where.

run/
  config.json        the settings, with every `auto` and default resolved
  provenance.json    the cache and the sessions (a first start and its resumes)
  trained_rigs.bin   by what the rigs that it learns from are known again
  checkpoints/step_000100/ …
  tensorboard/
  student/           the trained student
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import Timeout
from pydantic import Field

from cache_schema import DatasetIdentity, ImageSpec, Manifest, SplitRecord, TeacherRecord
from cache_schema.durable import write_atomic
from cache_schema.errors import TrainingError
from cache_schema.lock import locked
from cache_schema.manifest import Record, differing_fields
from cache_schema.places import refuse_foreign
from stages.train.config import TrainConfig
from stages.train.stored import read_record

CONFIG = "config.json"
PROVENANCE = "provenance.json"
STUDENT = "student"
TENSORBOARD = "tensorboard"
LOCK = ".lock"
LIBRARIES = ("accelerate", "numpy", "pillow", "transformers", "zarr")
ANOTHER_RUN = "choose another --run"


class TrainingData(Record):
    """The part of a cache that a run reads; teachers and splits added to the cache later do not change it."""

    dataset: DatasetIdentity
    image: ImageSpec
    split: SplitRecord
    teacher: TeacherRecord | None
    unlabelled: TrainingData | None = None
    """What further rigs are, that have no LiDAR; perhaps of another cache."""
    validation: SplitRecord | None = None
    """Of the rigs that training is watched on."""


class Session(Record):
    """One start of a run."""

    first_step: int
    code_version: str
    torch_version: str
    device: str
    processes: int = 1
    versions: dict[str, str] = Field(default_factory=dict)
    """Of Python and of the libraries that compute."""


class Provenance(Record):
    """Where a run comes from."""

    seed: int
    data: TrainingData
    manifest_sha256: str
    """Digest of the cache's whole manifest at the first start."""
    sessions: tuple[Session, ...]


def training_data(manifest: Manifest, split: str, teacher: str | None) -> TrainingData:
    """What a run on this split with this teacher reads."""
    record, teacher_record = split_record(manifest, split), None if teacher is None else _as_read(manifest, teacher)
    return TrainingData(dataset=manifest.dataset, image=manifest.image, split=record, teacher=teacher_record)


def _as_read(manifest: Manifest, teacher: str) -> TeacherRecord:
    """A teacher without its raw scale, which no run reads: a cache with it and one of before teach the same."""
    record = manifest.teachers[teacher]
    return record.model_copy(update={"targets": record.targets.model_copy(update={"test_time_views": 0})})


def split_record(manifest: Manifest, split: str) -> SplitRecord:
    """What a split is, whatever is added to it later."""
    return manifest.splits[split].model_copy(update={"frames_complete": True, "teachers_complete": ()})


def refuse_another_run(run: Path, config: TrainConfig, data: TrainingData) -> None:
    """Raise TrainingError if the run in the folder has other settings or other data, naming what differs."""
    stored = read_record(TrainConfig, run / CONFIG, ANOTHER_RUN)
    differences = differing_fields(_what_matters(stored), _what_matters(config))
    differences += [f"cache {line}" for line in differing_fields(_provenance(run).data, data)]
    if differences:
        raise TrainingError(f"{run} holds a run that differs in {'; '.join(differences)}; {ANOTHER_RUN}")


def start_session(run: Path, config: TrainConfig, data: TrainingData, manifest_sha256: str, session: Session) -> None:
    """Write the records of a new run, or add a session to those of one that is resumed."""
    earlier = _provenance(run).sessions if session.first_step > 0 else ()
    provenance = Provenance(seed=config.seed, data=data, manifest_sha256=manifest_sha256, sessions=(*earlier, session))
    write_atomic(run / PROVENANCE, provenance.model_dump_json(indent=2) + "\n")
    write_atomic(run / CONFIG, config.model_dump_json(indent=2) + "\n")


def this_session(first_step: int, device: torch.device, processes: int, code_version: str) -> Session:
    """The session that starts now."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Session(
        first_step=first_step,
        code_version=code_version,
        torch_version=torch.__version__,
        device=name,
        processes=processes,
        versions={"python": platform.python_version()} | {library: version(library) for library in LIBRARIES},
    )


def refuse_another_folder(run: Path) -> None:
    """Raise ConfigError where a folder holds something else than a run, be it one that had just begun."""
    begun = (run / PROVENANCE).is_file() and _speaks_of_sessions(run / PROVENANCE)
    if not begun:
        refuse_foreign(run, "--run", "training run", own=(LOCK,))


def _speaks_of_sessions(file: Path) -> bool:
    """Whether a file is the provenance of a run; one that cannot be read may be, and is refused where it is read."""
    try:
        stored = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return True
    return isinstance(stored, dict) and "sessions" in stored


@contextmanager
def only_trainer(run: Path) -> Iterator[None]:
    """Hold a run's folder, made where absent. Raises TrainingError if another process trains into it.

    The system releases the lock when its holder dies.
    """
    run.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(run / LOCK))
        except Timeout as error:
            raise TrainingError(f"another process trains into {run}; wait for it to end, or {ANOTHER_RUN}") from error
        yield


def _provenance(run: Path) -> Provenance:
    return read_record(Provenance, run / PROVENANCE, ANOTHER_RUN)


def _what_matters(config: TrainConfig) -> TrainConfig:
    """The settings without those that do not change what is computed; a resumed run may have these otherwise."""
    loader = config.loader.model_copy(update={"workers": 0})
    return config.model_copy(
        update={"device": "auto", "checkpoint_every": 1, "log_every": 1, "panel_every": 1, "loader": loader}
    )
