"""The parts that a comparison consists of: the world, the cache, teachers, every variant with every seed, timing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from cache_schema.durable import write_atomic
from cache_schema.errors import ConfigError
from pipeline.reproduce.latency import measure_latency
from pipeline.reproduce.variants import METHOD, compared, training_of
from pipeline.settings import ReproduceConfig
from pipeline.study.part import Part
from stages.cache_teacher import execute as cache_execute
from stages.cache_teacher import plan as cache_plan
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.street import generate
from stages.cache_teacher.datasets.street.spec import StreetSpec
from stages.evaluate import execute as evaluate_execute
from stages.evaluate import plan as evaluate_plan
from stages.evaluate.config import DEFAULT_SPLIT, EvaluateConfig
from stages.progress import Progress
from stages.train import execute as train_execute
from stages.train import plan as train_plan
from stages.train.config import TrainConfig

UNLABELLED = " without LiDAR"
"""Said of the world and the cache of further rigs."""


@dataclass(frozen=True)
class Comparison:
    """What would be done, and where it is kept. Made by `plan`, carried out by `parts.carry_out`."""

    config: ReproduceConfig
    out: Path
    code_version: str

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every variant."""
        return tuple(self.config.train.seed + number for number in range(self.config.seeds))

    @property
    def records(self) -> Path:
        """Folder of the parts' records."""
        return self.out / "parts"

    @property
    def teachers(self) -> Path:
        """Scores of the cached teachers."""
        return self.out / "teachers.json"

    @property
    def latency(self) -> Path:
        """Times per rig."""
        return self.out / "latency.json"

    def run(self, variant: str, seed: int) -> Path:
        """Folder of a training run."""
        return self.out / "runs" / f"{variant}-{seed}"

    def metrics(self, variant: str, seed: int) -> Path:
        """Scores of a run's student."""
        split = self.config.split
        return self.run(variant, seed) / ("metrics.json" if split == DEFAULT_SPLIT else f"metrics-{split}.json")

    def parts(self) -> list[Part]:
        """All parts, in order; seed by seed, so that a first comparison is there early."""
        config, parts = self.config, []
        for name, street, cache in (
            ("", config.street, config.cache),
            (UNLABELLED, config.unlabelled_street, config.unlabelled_cache),
        ):
            if street is not None and cache is not None:
                parts.append(_street(street, cache.root, f"street{name}"))
            if cache is not None:
                parts.append(_cache(self, street, cache, f"cache{name}"))
        parts.append(_teachers(self))
        parts += [_run(self, variant, seed) for seed in self.seeds for variant in compared(config)]
        return [*parts, _latency(self)]


def plan(config: ReproduceConfig, out: Path, *, code_version: str) -> Comparison:
    """Look at the settings and, where it is there already, the dataset; change nothing.

    Raises ConfigError for a split that would not be in the cache, DatasetError for data that cannot be read.
    """
    if config.street is None:
        known = [part.name for part in cache_plan.plan(config.cache).splits]
    else:
        known = [name for name in config.street.splits if name in (config.cache.splits or config.street.splits)]
    if config.unlabelled_cache is not None and config.unlabelled_street is None:
        cache_plan.plan(config.unlabelled_cache)  # so that data that cannot be read is known before any work
    for name in (config.split, config.train.split):
        if name not in known:
            raise ConfigError(f"split {name!r} would not be in the cache, which gets: {', '.join(known)}")
    return Comparison(config, out, code_version)


def _street(spec: StreetSpec, root: Path, name: str) -> Part:
    def run(progress: Progress) -> None:
        generate.execute(generate.plan(spec, root), progress)

    return Part(name, "street", "rigs", _digest(spec), root / "ddad.json", run)


def _cache(comparison: Comparison, street: StreetSpec | None, config: CacheTeacherConfig, name: str) -> Part:
    def run(progress: Progress) -> None:
        cache_execute.execute(cache_plan.plan(config), progress, code_version=comparison.code_version)

    digest = _digest(comparison.code_version, *_what_is_cached(street, config))
    return Part(name, "cache", "rigs", digest, Path(config.cache) / "zarr.json", run)


def _teachers(comparison: Comparison) -> Part:
    def run(progress: Progress) -> None:
        made = evaluate_plan.plan(_evaluation(comparison, run=None, teachers=None))
        evaluation = evaluate_execute.execute(made, progress, code_version=comparison.code_version)
        write_atomic(comparison.teachers, evaluation.model_dump_json(indent=2) + "\n")

    digest = _digest(_data_digest(comparison), comparison.config.split)
    return Part("teachers", "teachers", "rigs", digest, comparison.teachers, run)


def _run(comparison: Comparison, variant: str, seed: int) -> Part:
    config = comparison.config
    digest = _digest(_data_digest(comparison), config.split, _what_matters(training_of(config, variant, seed)))
    work = partial(_train_and_score, comparison, variant, seed)  # which, unlike a closure, travels to other processes
    return Part(f"{variant}, seed {seed}", "run", "units", digest, comparison.metrics(variant, seed), work)


def _train_and_score(comparison: Comparison, variant: str, seed: int, progress: Progress) -> None:
    config, folder, version = comparison.config, comparison.run(variant, seed), comparison.code_version
    trained = train_plan.plan(training_of(config, variant, seed), config.cache.cache, folder)
    train_execute.execute(trained, progress, code_version=version)
    scored = evaluate_plan.plan(_evaluation(comparison, run=folder, teachers=()))
    evaluate_execute.execute(scored, progress, code_version=version)


def _latency(comparison: Comparison) -> Part:
    config, student = comparison.config, comparison.run(METHOD, comparison.seeds[0]) / "student"

    def run(progress: Progress) -> None:
        latency = measure_latency(config.cache, config.split, student, progress)
        write_atomic(comparison.latency, latency.model_dump_json(indent=2) + "\n")

    digest = _digest(_data_digest(comparison), _what_matters(config.train), config.cache.device)
    return Part("latency", "latency", "rigs", digest, comparison.latency, run)


def _evaluation(comparison: Comparison, *, run: Path | None, teachers: tuple[str, ...] | None) -> EvaluateConfig:
    config = comparison.config
    return EvaluateConfig(
        cache=config.cache.cache, run=run, split=config.split, teachers=teachers, device=config.cache.device
    )


def _data_digest(comparison: Comparison) -> str:
    """Of all that decides what is in the caches, and of the code."""
    config = comparison.config
    further = (
        [] if config.unlabelled_cache is None else _what_is_cached(config.unlabelled_street, config.unlabelled_cache)
    )
    return _digest(comparison.code_version, *_what_is_cached(config.street, config.cache), *further)


def _what_is_cached(street: StreetSpec | None, config: CacheTeacherConfig) -> list[BaseModel | str]:
    where = config.model_copy(update={"device": "auto", "workers": None, "scheduler": None, "readers": None})
    return ["" if street is None else street, where]


def _what_matters(training: TrainConfig) -> TrainConfig:
    """Settings without those that change nothing in the result."""
    loader = training.loader.model_copy(update={"workers": 0})
    return training.model_copy(update={"device": "auto", "checkpoint_every": 1, "log_every": 1, "loader": loader})


def _digest(*of: BaseModel | str) -> str:
    digest = hashlib.sha256()
    for each in of:
        digest.update((each if isinstance(each, str) else each.model_dump_json()).encode() + b"\n")
    return digest.hexdigest()
