"""What is scored: the student of a run, and the teachers of a cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from cache_schema import CachedRig, TargetReader
from cache_schema.soft_targets import expand, expected_position
from stages.device import choose_device
from stages.evaluate.prediction import Alignment
from stages.train.student import load_student, resize_images

Maps = Float[np.ndarray, "V h w"]
MEDIAN_ONLY = ", median only"
"""What is put to a teacher's name where its disparity is scaled and not shifted."""


@dataclass(frozen=True)
class Subject:
    """What is scored: its maps of a rig, from the rig's number and the rig, and the ways to make them metric."""

    name: str
    maps: Callable[[int, CachedRig], Maps]
    called: Mapping[Alignment, str]
    """The subject's name in results, by alignment."""


def student_subject(folder: Path, device: str) -> Subject:
    """The student in a folder. Raises TrainingError where there is none, ConfigError for a device that there is not."""
    chosen = choose_device(device)
    student = load_student(folder, chosen)

    def predict(_: int, rig: CachedRig) -> Maps:
        size = student.config.image_size or rig.images.shape[1:3]
        images = torch.from_numpy(resize_images(rig.images, size)).to(chosen)
        with torch.inference_mode():
            depth_m: Maps = student(images[None]).depth_m[0].float().cpu().numpy()
        return depth_m

    return Subject("student", predict, {"metric": "student"})


def teacher_subject(name: str, targets: TargetReader) -> Subject:
    """A teacher of the cache, by the position of its bins' mean on the scale of relative disparity."""

    def disparity(index: int, _: CachedRig) -> Maps:
        return np.asarray(expected_position(expand(targets[index].encoded, targets.spec), targets.spec.bins))

    called = f"teacher {name}"
    return Subject(called, disparity, {"disparity_least_squares": called, "disparity_median": f"{called}{MEDIAN_ONLY}"})
