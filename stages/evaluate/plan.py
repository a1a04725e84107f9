"""What stage 3 would do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache_schema import Cache, FrameReader, TargetReader
from cache_schema.errors import ConfigError, EvaluationError
from cache_schema.places import require_writable
from stages.device import choose_device
from stages.evaluate.config import EvaluateConfig, metrics_file
from stages.evaluate.files import data_label
from stages.evaluate.protocol import Protocol, TruthName, protocol
from stages.evaluate.trained_on import seen_before, trained_otherwise
from stages.train.student import read_config, student_sha256


@dataclass(frozen=True)
class EvaluationPlan:
    """Which subjects are scored on which rigs, by which protocols. Made by `plan`, carried out by `execute`."""

    config: EvaluateConfig
    protocols: tuple[Protocol, ...]
    cache: Cache
    frames: FrameReader
    teachers: dict[str, TargetReader]
    student_folder: Path | None
    student_sha256: str | None
    """Digest of the student's weights."""
    label: str = ""
    """What the names of results say of the data, where the run has results on others."""
    trained_otherwise: tuple[str, ...] = ()
    """What the student was trained on that the data are not."""

    @property
    def truths(self) -> tuple[TruthName, ...]:
        """What subjects are scored against."""
        return ("lidar", "dense") if self.config.dense and self.frames.record.dense_depth else ("lidar",)

    def describe(self) -> list[str]:
        """What is unusual of what would be done, one line each, for a person."""
        if not self.trained_otherwise:
            return []
        return [f"doubtful {self.config.run} was trained on {'; '.join(self.trained_otherwise)}"]

    def output(self, by: Protocol) -> Path | None:
        """Where a protocol's result is written: into the run, if there is one."""
        return (
            None if self.config.run is None else metrics_file(self.config.run, self.config.split, by.name, self.label)
        )


def plan(config: EvaluateConfig) -> EvaluationPlan:
    """Open the cache and check the run, change nothing.

    Raises CacheMissingError, CacheIncompleteError, ConfigError (protocol, device, a run that cannot be written),
    EvaluationError (no student there) or TrainingError (one without weights or settings).
    """
    cache = Cache(config.cache)
    frames = cache.split(config.split)
    if not frames.record.lidar:
        raise EvaluationError(
            f"{config.cache}: split {config.split} was cached without LiDAR, so there is nothing to compare with;"
            " evaluate on a split with LiDAR"
        )
    names = frames.record.teachers_complete if config.teachers is None else config.teachers
    if config.run is None and not names:
        raise EvaluationError(
            f"{config.cache}: there is nothing to score: no teacher is complete for split {config.split}, and no --run"
            " is given"
        )
    if config.metric_from is not None:
        for name in names:
            cache.targets(config.metric_from, name, raw_scale=config.metric_teacher.raw_scale)
    student = None if config.run is None else trained_student(config.run, config.cache)
    label = ""
    otherwise: tuple[str, ...] = ()
    if config.run is not None:
        require_writable(config.run, "--run")
        choose_device(config.device)
        label = data_label(config.run, cache.manifest, config.split)
    digest = None if student is None else student_sha256(student)
    if config.run is not None and student is not None:
        otherwise = trained_otherwise(config.run, read_config(student), cache.manifest)
        otherwise += seen_before(config.run, cache, config.split)
    return EvaluationPlan(
        config=config,
        protocols=_protocols(config, cache),
        cache=cache,
        frames=frames,
        teachers={name: cache.targets(config.split, name) for name in names},
        student_folder=student,
        student_sha256=digest,
        label=label,
        trained_otherwise=otherwise,
    )


def trained_student(run: Path, cache: str) -> Path:
    """Folder of a run's student. Raises EvaluationError where there is none."""
    student = run / "student"
    if not student.exists() and (run / "checkpoints").is_dir():
        raise EvaluationError(
            f"{run} was interrupted before its student was stored; give its fsmde train command again to finish it"
        )
    if not student.exists():
        raise EvaluationError(
            f"{run} holds no trained student; train one with: fsmde train --cache {cache} --run {run}"
        )
    return student


def _protocols(config: EvaluateConfig, cache: Cache) -> tuple[Protocol, ...]:
    found = tuple(protocol(asked, cache.manifest.dataset) for asked in config.protocols)
    names = [by.name for by in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two protocols are called {name}; expected each once")
        if name in cache.manifest.splits:
            raise ConfigError(
                f"a protocol is called {name}, as a split of {config.cache} is; expected another name, for the files "
                "of results have both in theirs"
            )
    return found
