"""`fsmde reproduce` as a study: every variant on one set of data, and then how long teacher and student take."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue

from cache_schema import Cache
from cache_schema.durable import write_atomic
from cache_schema.errors import ConfigError
from cache_schema.manifest import differing_fields
from pipeline.latency import measure_latency
from pipeline.reproduce.variants import BASELINE, METHOD, compared, training_of
from pipeline.settings import ReproduceConfig
from pipeline.study.data import CachedRigs, digest
from pipeline.study.part import Part
from pipeline.study.study import Study, refuse_another_out, refuse_contradictions
from pipeline.study.trial import Trial, what_matters
from stages.cache_teacher import plan as cache_plan
from stages.progress import Progress

_OF_THE_TEACHER_ITSELF = ("height", "width", "encoding", "feature_channels", "test_time_views")
"""What of targets is known only when image and teacher are there."""


@dataclass(frozen=True)
class Comparison:
    """What would be done, and where it is kept. Made by `plan`, carried out by `parts.carry_out`."""

    config: ReproduceConfig
    out: Path
    code_version: str

    @cached_property
    def study(self) -> Study:
        """The variants, each with every seed."""
        config = self.config
        trials = []
        for name, variant in compared(config).items():
            training, own = training_of(config, name, config.train.seed), config.of(name)
            whose, says = "", variant.says
            if targets := config.targets_of.get(name):
                whose = f", targets of {name}"
                says += f"; targets of its own: {', '.join(f'{key}={_said(value)}' for key, value in targets.items())}"
            labelled, further = _labelled(own, f"cache{whose}"), _unlabelled(own, f"cache without LiDAR{whose}")
            trials.append(Trial(name, name, says, training, labelled, further if training.unlabelled else None))
        return Study(
            trials=tuple(trials),
            seeds=tuple(config.train.seed + number for number in range(config.seeds)),
            scored=(_labelled(config, "cache"),),
            split=config.split,
            baseline=BASELINE,
            out=self.out,
            code_version=self.code_version,
            device=config.cache.device,
            jobs=config.jobs,
            compare=tuple((METHOD, name) for name in compared(config) if name not in (METHOD, BASELINE)),
            note=config.note,
            settings=config.model_dump(mode="json"),
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every variant."""
        return self.study.seeds

    @property
    def latency(self) -> Path:
        """Times per rig."""
        return self.out / "latency.json"

    def run(self, variant: str, seed: int) -> Path:
        """Folder of a training run."""
        trial = self.study.trial(variant, {})
        assert trial is not None
        return self.study.run(trial, seed)

    def parts(self) -> list[Part]:
        """All parts, in order."""
        return [*self.study.parts(), self._latency_part()]

    def _latency_part(self) -> Part:
        config, method = self.config, self.study.trial(METHOD, {})
        assert method is not None
        run = self.study.run_part(method, self.seeds[0])

        def measure(progress: Progress) -> None:
            student = self.run(METHOD, self.seeds[0]) / "student"
            cached = config.cache
            latency = measure_latency(cached.cache, config.split, cached.teacher, student, cached.device, progress)
            write_atomic(self.latency, latency.model_dump_json(indent=2) + "\n")

        decided = digest(run.digest, what_matters(config.train), config.cache.device)
        return Part("latency", "latency", "rigs", decided, self.latency, measure, (run.name,))


def _said(value: JsonValue) -> str:
    """A setting as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _labelled(config: ReproduceConfig, part: str) -> CachedRigs:
    return CachedRigs(part, config.cache.cache, config.cache, config.street)


def _unlabelled(config: ReproduceConfig, part: str) -> CachedRigs | None:
    cache, world = config.unlabelled_cache, config.unlabelled_street
    return None if cache is None else CachedRigs(part, cache.cache, cache, world, "street without LiDAR")


def plan(config: ReproduceConfig, out: Path, *, code_version: str) -> Comparison:
    """Look at the settings and, where it is there already, the dataset; change nothing.

    Raises ConfigError for a split that would not be in the cache, for targets that a variant cannot learn from, and
    where `out` was made with others; DatasetError for data that cannot be read.
    """
    refuse_another_out(out)
    if config.street is None:
        known = [part.name for part in cache_plan.plan(config.cache).splits]
    else:
        known = [name for name in config.street.splits if name in (config.cache.splits or config.street.splits)]
    if config.unlabelled_cache is not None and config.unlabelled_street is None:
        cache_plan.plan(config.unlabelled_cache)  # so that data that cannot be read is known before any work
    for name in config.targets_of:
        if name not in compared(config):
            raise ConfigError(f"targets_of.{name}: there is no such variant; there are: {', '.join(compared(config))}")
        if not training_of(config, name, 0).losses.needs_teacher:
            taught = [name for name in compared(config) if training_of(config, name, 0).losses.needs_teacher]
            raise ConfigError(f"targets_of.{name}: it has no teacher; variants that have: {', '.join(taught)}")
    for name in (config.split, config.train.split):
        if name not in known:
            raise ConfigError(f"split {name!r} would not be in the cache, which gets: {', '.join(known)}")
    comparison = Comparison(config, out, code_version)
    refuse_contradictions(comparison.study)
    _refuse_other_targets(comparison)
    return comparison


def _refuse_other_targets(comparison: Comparison) -> None:
    """Raise ConfigError where the cache is there already, with a variant's targets made in another way."""
    asked = [rigs.cache for trial in comparison.study.trials for rigs in trial.data if rigs.cache is not None]
    for cache in asked:
        if cache.overwrite or not (Path(cache.cache) / "zarr.json").exists():
            continue
        stored = Cache(cache.cache).manifest.teachers.get(cache.teacher.called)
        others = [] if stored is None else differing_fields(stored.targets, cache.targets, skip=_OF_THE_TEACHER_ITSELF)
        if others:
            raise ConfigError(
                f"{cache.cache} has other targets of teacher {cache.teacher.called}: {'; '.join(others)}; give another"
                " --out, or replace them with --set cache.overwrite=true"
            )
