"""A rehearsal: a few steps of everything that a run would do, in a folder that is gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache_schema.errors import ConfigError
from cache_schema.places import refuse_inside, require_writable
from stages.progress import Progress
from stages.train.config import TrainConfig
from stages.train.execute import execute
from stages.train.plan import plan
from stages.train.processes import Processes

STEPS = 4
VALIDATED_RIGS = 4


def rehearse(
    config: TrainConfig, cache: str | Path, folder: Path, progress: Progress, *, code_version: str, processes: Processes
) -> dict[str, float]:
    """Train, validate, draw, write checkpoints and store a student as a run would, for `STEPS` steps.

    In a `rehearsal_folder`; returns the last losses, by name. Raises what the run would raise.
    """
    with processes.together():
        made = plan(shortened(config), cache, folder)
    return execute(made, progress, code_version=code_version, processes=processes).losses


def shortened(config: TrainConfig) -> TrainConfig:
    """Settings of a rehearsal: everything happens after every other step."""
    every = STEPS // 2
    validation = config.validation
    if validation is not None:
        rigs = min(validation.rigs or VALIDATED_RIGS, VALIDATED_RIGS)
        validation = validation.model_copy(update={"every": every, "rigs": rigs, "patience": None})
    return config.model_copy(
        update={
            "steps": STEPS,
            "epochs": None,
            "checkpoint_every": every,
            "log_every": 1,
            "panel_every": every,
            "validation": validation,
        }
    )


@contextmanager
def rehearsal_folder(run: Path) -> Iterator[Path]:
    """A new folder where a run is rehearsed, gone afterwards: on the run's disk, or where that cannot be with `TMPDIR`.

    What the folder of the run holds does not matter, and is not touched.
    """
    beside = next((place for place in run.absolute().parents if place.is_dir()), None)
    try:
        refuse_inside(run, "--run", "rehearsal")
        require_writable(beside or run, "--run")
    except ConfigError:
        beside = None
    folder = Path(tempfile.mkdtemp(prefix=f".{run.name}.fast-dev-run-", dir=beside))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
