"""How long teacher and student take for one rig, side by side on one device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from cache_schema import Cache
from cache_schema.manifest import Record
from stages.cache_teacher import chosen_teacher
from stages.cache_teacher.config import CacheTeacherConfig
from stages.device import choose_device
from stages.progress import Progress
from stages.train.student import load_student, resize_images
from stages.wording import counted

TIMES = 7
"""Measurements of each; the median counts."""


class Latency(Record):
    """Median times for one rig: from its images in memory, at the size of the cache, to depth of all views.

    Each prepares the images in its own way; the teacher looks once, without the mirrored or scaled frames of stage 1.
    """

    device: str
    threads: int
    teacher: str
    teacher_s: float
    student_s: float
    teacher_all_s: tuple[float, ...]
    student_all_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times faster the student is."""
        return self.teacher_s / self.student_s

    @property
    def measured(self) -> str:
        """What was timed, and both times."""
        return (
            f"One rig, median of {len(self.student_all_s)} on {self.device} with {counted(self.threads, 'thread')}: "
            f"teacher {self.teacher} {1000 * self.teacher_s:.0f} ms, student {1000 * self.student_s:.0f} ms"
        )

    @property
    def in_words(self) -> str:
        """The ratio as it is said of the student."""
        return f"{self.ratio:.1f} times faster" if self.ratio >= 1 else f"{1 / self.ratio:.1f} times slower"


def measure_latency(config: CacheTeacherConfig, split: str, student_folder: Path, progress: Progress) -> Latency:
    """Time the teacher of the settings and a student on the first rig of a split, taking turns.

    Raises TeacherError or TrainingError where one of them cannot be loaded.
    """
    device = choose_device(config.device)
    once = config.teacher.model_copy(update={"flip": False, "scales": (1.0,)})
    teacher = chosen_teacher.load(once, str(device))
    student = load_student(student_folder, device)
    images: UInt8[np.ndarray, "V H W 3"] = Cache(config.cache).split(split).images(0)

    def look() -> None:
        teacher(list(images))

    @torch.inference_mode()
    def predict() -> None:
        resized = resize_images(images, student.config.image_size or images.shape[1:3])
        student(torch.from_numpy(resized)[None].to(device)).depth_m.cpu()

    progress.begin("latency", TIMES + 1)
    teacher_s, student_s = [], []
    for number in range(TIMES + 1):
        seconds = _seconds(look, device), _seconds(predict, device)
        if number:  # the first is for warming up
            teacher_s.append(seconds[0])
            student_s.append(seconds[1])
        progress.advance()
    return Latency(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
        teacher=config.teacher.id,
        teacher_s=statistics.median(teacher_s),
        student_s=statistics.median(student_s),
        teacher_all_s=tuple(teacher_s),
        student_all_s=tuple(student_s),
    )


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    _finish(device)
    start = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    """A GPU works on while Python goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
