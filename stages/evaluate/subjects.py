"""What is scored: the student of a run, and the teachers of a cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from cache_schema import Cache, CachedRig, TargetReader
from cache_schema.soft_targets import expand, expected_position
from stages.evaluate.prediction import Alignment, Prediction, aligned
from stages.evaluate.truth import Truth
from stages.train.metric_teacher import MetricTeacher
from stages.train.student import Student, StudentOutput, resize_images

Maps = Float[np.ndarray, "V h w"]
MEDIAN_ONLY = ", median only"
"""What is put to a teacher's name where its disparity is scaled and not shifted."""


@dataclass(frozen=True)
class Subject:
    """What is scored: its maps of a rig, from the rig's number and the rig, and the ways to make them metric."""

    name: str
    maps: Callable[[int, CachedRig], Maps]
    called: Mapping[Alignment, str]
    """The subject's name in results, by alignment; the first is the one it is shown by."""

    def shown(self, index: int, rig: CachedRig, lidar: Truth, native_size: tuple[int, int], far_m: float) -> Prediction:
        """Its metric depth of a rig, by the alignment that it is shown by."""
        return aligned(self.maps(index, rig), next(iter(self.called)), lidar, native_size, far_m)


def student_subject(student: Student) -> Subject:
    """A trained student, on the device where it is."""

    def predict(_: int, rig: CachedRig) -> Maps:
        depth_m: Maps = look(student, rig).depth_m[0].float().cpu().numpy()
        return depth_m

    return Subject("student", predict, {"metric": "student"})


def look(student: Student, rig: CachedRig) -> StudentOutput:
    """What a student makes of one rig, at the resolution that it was trained at."""
    images = torch.from_numpy(resize_images(rig.images, student.config.image_size or rig.images.shape[1:3]))
    with torch.inference_mode():
        output: StudentOutput = student(images[None].to(next(student.parameters()).device))
    return output


def teacher_subject(name: str, targets: TargetReader) -> Subject:
    """A teacher of the cache, by the position of its bins' mean on the scale of relative disparity."""

    def disparity(index: int, _: CachedRig) -> Maps:
        return np.asarray(expected_position(expand(targets[index].encoded, targets.spec), targets.spec.bins))

    called = f"teacher {name}"
    return Subject(called, disparity, {"disparity_least_squares": called, "disparity_median": f"{called}{MEDIAN_ONLY}"})


def metric_teacher_subject(teacher: MetricTeacher, cache: Cache, split: str) -> Subject:
    """A teacher whose views have metric bin centres, by Σ p_T·c_T. Raises the errors of `MetricTeacher.rigs`."""
    rigs = teacher.rigs(cache, split)

    def predict(index: int, _: CachedRig) -> Maps:
        return teacher.depth_m(rigs, index).numpy()

    called = f"metric teacher {teacher.record.teacher}"
    return Subject(called, predict, {"metric": called})


def teacher_subjects(cache: Cache, split: str) -> list[Subject]:
    """The teachers that are complete for a split. Raises CacheMissingError or CacheIncompleteError for the split."""
    return [teacher_subject(name, cache.targets(split, name)) for name in cache.split(split).record.teachers_complete]
