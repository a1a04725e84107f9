"""How long teacher and student take for one rig, side by side on one device, and what they need for it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cache_schema import Cache
from cache_schema.errors import ConfigError
from cache_schema.manifest import Record
from pipeline.tensor_memory import TensorMemory
from stages.cache_teacher import chosen_teacher
from stages.cache_teacher.config import TeacherSettings
from stages.cache_teacher.teachers import street
from stages.cache_teacher.teachers.checkpoint import find_checkpoint
from stages.device import choose_device
from stages.progress import Progress
from stages.train.student import load_student, resize_images, student_sha256
from stages.wording import counted, size

LATENCY = "latency.json"
"""Where it is kept in a run."""
LEAST_TIMES, MOST_TIMES = 7, 50
"""Measurements of each."""
ENOUGH_S = 30.0
"""After so long no further one is begun."""


class Cost(Record):
    """What one network needs for one rig: from its images in memory, as they are cached, to depth of all views.

    It prepares the images in its own way.
    """

    median_s: float
    p95_s: float
    all_s: tuple[float, ...]
    precision: str
    parameters: int
    multiply_adds: int
    """Of matrix products, convolutions and attention."""
    peak_bytes: int
    """Of weights and tensors, the most that it held at once."""

    @property
    def in_words(self) -> str:
        """Everything, for a person."""
        return (
            f"median {1000 * self.median_s:.0f} ms, 95 % within {1000 * self.p95_s:.0f} ms; "
            f"{self.parameters / 1e6:.1f} M parameters, {self.multiply_adds / 1e9:.1f} G multiply-adds, "
            f"{size(self.peak_bytes)} at the peak; {self.precision}"
        )


class Latency(Record):
    """Both, in one run. The teacher looks once, without the mirrored or scaled frames of stage 1."""

    device: str
    threads: int
    """Of the CPU."""
    views: int
    image_size: tuple[int, int]
    """Height and width of the cached images."""
    teacher_id: str
    teacher: Cost
    student: Cost
    student_sha256: str | None = None
    """Digest of the student's weights."""

    @property
    def ratio(self) -> float:
        """How many times faster the student is, by the medians."""
        return self.teacher.median_s / self.student.median_s

    @property
    def measured_on(self) -> str:
        """The device and the threads of the CPU."""
        return f"{self.device} with {counted(self.threads, 'thread')}"

    @property
    def measured(self) -> str:
        """What was timed, and both times."""
        return (
            f"One rig, median of {len(self.student.all_s)} on {self.measured_on}: "
            f"teacher {self.teacher_id} {1000 * self.teacher.median_s:.0f} ms, "
            f"student {1000 * self.student.median_s:.0f} ms"
        )

    @property
    def in_words(self) -> str:
        """The ratio as it is said of the student."""
        return f"{self.ratio:.1f} times faster" if self.ratio >= 1 else f"{1 / self.ratio:.1f} times slower"


@dataclass(frozen=True)
class _Network:
    """Something that looks at a rig."""

    look: Callable[[], object]
    weights: Sequence[nn.Parameter]
    precision: str

    @property
    def weight_bytes(self) -> int:
        return sum(weight.numel() * weight.element_size() for weight in self.weights)


def teacher_of(cache: str, asked: str | None) -> TeacherSettings:
    """The teacher of a cache by its name there, or any other by hub id or folder; none: the first of the cache.

    Raises ConfigError where the cache has none, or one from a folder that it does not know.
    """
    teachers = Cache(cache).manifest.teachers
    if asked is not None and asked not in teachers:
        return TeacherSettings(id=asked)
    name = asked or next(iter(teachers), None)
    if name is None:
        raise ConfigError(f"{cache} has no teacher; name one with --teacher")
    identity = teachers[name].identity
    if identity.revision is None and identity.weights_sha256 != find_checkpoint(street.NAME).weights_sha256():
        raise ConfigError(f"teacher {name} of {cache} came from a folder; pass that folder with --teacher")
    return TeacherSettings(id=identity.id, revision=identity.revision, kind=identity.kind, precision=identity.precision)


def measure_latency(
    cache: str, split: str, teacher: TeacherSettings, student_folder: Path, device: str, progress: Progress
) -> Latency:
    """Time a teacher and a student on the first rig of a split, taking turns, warm.

    Raises TeacherError or TrainingError where one of them cannot be loaded, ConfigError for a device that there is not.
    """
    chosen = choose_device(device)
    images: UInt8[np.ndarray, "V H W 3"] = Cache(cache).split(split).images(0)
    networks = (_teacher(teacher, chosen, images), _student(student_folder, chosen, images))
    progress.begin("latency", LEAST_TIMES)
    for network in networks:
        network.look()  # to warm up
    peaks = [_peak_bytes(network, chosen) for network in networks]
    multiply_adds = [_multiply_adds(network) for network in networks]
    seconds: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    while len(seconds[0]) < LEAST_TIMES or (len(seconds[0]) < MOST_TIMES and time.perf_counter() - began < ENOUGH_S):
        for network, taken in zip(networks, seconds, strict=True):
            taken.append(_seconds(network.look, chosen))
        if len(seconds[0]) <= LEAST_TIMES:
            progress.advance()
    costs = [
        Cost(
            median_s=statistics.median(taken),
            p95_s=float(np.percentile(taken, 95)),
            all_s=tuple(taken),
            precision=network.precision,
            parameters=sum(weight.numel() for weight in network.weights),
            multiply_adds=count,
            peak_bytes=peak,
        )
        for network, taken, count, peak in zip(networks, seconds, multiply_adds, peaks, strict=True)
    ]
    return Latency(
        device=torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type,
        threads=torch.get_num_threads(),
        views=len(images),
        image_size=(images.shape[1], images.shape[2]),
        teacher_id=teacher.id,
        teacher=costs[0],
        student=costs[1],
        student_sha256=student_sha256(student_folder),
    )


def _teacher(settings: TeacherSettings, device: torch.device, images: UInt8[np.ndarray, "V H W 3"]) -> _Network:
    teacher = chosen_teacher.load(settings.model_copy(update={"flip": False, "scales": (1.0,)}), str(device))
    return _Network(lambda: teacher(list(images)), teacher.weights, settings.precision)


def _student(folder: Path, device: torch.device, images: UInt8[np.ndarray, "V H W 3"]) -> _Network:
    student = load_student(folder, device)

    @torch.inference_mode()
    def predict() -> None:
        resized = resize_images(images, student.config.image_size or images.shape[1:3])
        student(torch.from_numpy(resized)[None].to(device)).depth_m.cpu()

    return _Network(predict, list(student.parameters()), "float32")


def _multiply_adds(network: _Network) -> int:
    """Half of the floating-point operations; attention is computed by plain products, whose operations are counted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.look()
    return int(counter.get_total_flops() // 2)


def _peak_bytes(network: _Network, device: torch.device) -> int:
    """Its weights, and the tensors that it makes and holds at once while it looks."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        network.look()
        return network.weight_bytes + int(torch.cuda.max_memory_allocated(device) - before)
    memory = TensorMemory(network.weights)
    with memory:
        network.look()
    return network.weight_bytes + memory.peak_bytes


def _seconds(work: Callable[[], object], device: torch.device) -> float:
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
