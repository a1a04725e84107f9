"""A rehearsal: a few steps of everything that a run would do, in a folder that is gone afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.progress import Progress
from stages.train.config import TrainConfig
from stages.train.execute import execute
from stages.train.plan import plan
from stages.train.processes import Processes

STEPS = 4
VALIDATED_RIGS = 4


def rehearse(
    config: TrainConfig, cache: str | Path, run: Path, progress: Progress, *, code_version: str, processes: Processes
) -> dict[str, float]:
    """Train, validate, draw, write checkpoints and store a student as the run would, for `STEPS` steps.

    Beside the folder of the run, which is not touched; nothing is left but the last losses, by name, which are
    returned. Raises what the run would raise.
    """
    folder = rehearsal_folder(run)
    try:
        with processes.together():
            if processes.main:
                shutil.rmtree(folder, ignore_errors=True)
        made = plan(shortened(config), cache, folder)
        return execute(made, progress, code_version=code_version, processes=processes).losses
    finally:
        if processes.main:
            shutil.rmtree(folder, ignore_errors=True)


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


def rehearsal_folder(run: Path) -> Path:
    """Where a run is rehearsed."""
    return run.with_name(f"{run.name}.fast-dev-run")
