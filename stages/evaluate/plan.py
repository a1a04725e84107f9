"""What stage 3 would do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache_schema import Cache, FrameReader, TargetReader
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.protocol import Protocol, protocol
from stages.train.student import load_student

METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class EvaluationPlan:
    """Which subjects are scored on which rigs, by which protocol. Made by `plan`, carried out by `execute`."""

    config: EvaluateConfig
    protocol: Protocol
    cache: Cache
    frames: FrameReader
    teachers: dict[str, TargetReader]
    student_folder: Path | None

    @property
    def output(self) -> Path | None:
        """Where the result is written: into the run, if there is one."""
        return None if self.config.run is None else self.config.run / METRICS_FILE


def plan(config: EvaluateConfig) -> EvaluationPlan:
    """Open the cache and check the run, change nothing.

    Raises CacheMissingError, CacheIncompleteError, ConfigError (protocol) or TrainingError (no student there).
    """
    cache = Cache(config.cache)
    frames = cache.split(config.split)
    names = frames.record.teachers_complete if config.teachers is None else config.teachers
    student = None if config.run is None else config.run / "student"
    if student is not None:
        load_student(student)  # a run without a usable student is refused before any work is done
    return EvaluationPlan(
        config=config,
        protocol=protocol(config.protocol, cache.manifest.dataset.name),
        cache=cache,
        frames=frames,
        teachers={name: cache.targets(config.split, name) for name in names},
        student_folder=student,
    )
