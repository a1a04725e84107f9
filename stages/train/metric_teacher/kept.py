"""The metric teacher of a run: fitted once, kept in the run's folder with the scales of all rigs that it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cache_schema import Cache
from cache_schema.durable import write_atomic
from cache_schema.errors import TrainingError
from stages.progress import Progress
from stages.train.config import MetricTeacherConfig
from stages.train.metric_teacher.files import save_metric_teacher
from stages.train.metric_teacher.fit import fit_metric_teacher
from stages.train.metric_teacher.teacher import MetricTeacher

FOLDER = "metric_teacher"
SCALES = "scales.safetensors"

ScaleShifts = Float32[np.ndarray, "rig view 2"]
"""Scale and shift of each view: 1/z = scale · u + shift, in 1/m; 0 and 0 where the teacher says nothing."""


def keep_metric_teacher(
    run: Path, splits: Sequence[tuple[Cache, str]], teacher: str, config: MetricTeacherConfig, progress: Progress
) -> None:
    """Fit a teacher to the LiDAR of the first split, tell the scales of all of them, and keep both with a run.

    The same splits and settings give the same scales. Raises the errors of `fit_metric_teacher` and of
    `MetricTeacher.rigs`.
    """
    folder = run / FOLDER
    fitted = fit_metric_teacher(*splits[0], teacher, config, progress)
    save_metric_teacher(folder, fitted)
    for line in fitted.describe():
        progress.note(line)
    scales = {str(i): _tell(fitted, *each, progress) for i, each in enumerate(splits)}
    write_atomic(folder / SCALES, save(scales))


def has_scales(run: Path) -> bool:
    """Whether a run keeps the scales of its rigs."""
    return (run / FOLDER / SCALES).exists()


def load_scales(run: Path, count: int) -> list[ScaleShifts]:
    """The scales of the rigs of so many splits. Raises TrainingError where they are absent or damaged."""
    file = run / FOLDER / SCALES
    try:
        scales: dict[str, Tensor] = load(file.read_bytes())
        return [scales[str(i)].numpy() for i in range(count)]
    except (OSError, SafetensorError, KeyError) as error:
        raise TrainingError(
            f"{file} does not hold the scales of this run's rigs: {error}; remove it, and this command makes it anew"
        ) from error


def _tell(teacher: MetricTeacher, cache: Cache, split: str, progress: Progress) -> Float32[Tensor, "rig view 2"]:
    reader = teacher.rigs(cache, split)
    found = torch.zeros(len(reader), reader.cameras, 2)
    progress.begin(f"tell the scale of {split}", len(reader))
    for rig in range(len(reader)):
        seen = reader.read(rig, teacher.record.ground_z_m)
        told = torch.stack(teacher.scale_shift(seen.cues, seen.scene), dim=-1)
        found[rig] = torch.where(seen.cues.known[:, None], told, 0)
        progress.advance()
    return found
