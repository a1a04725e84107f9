"""The parts that a study consists of: the worlds, the caches, the teachers' scores, every trial with every seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from pydantic import JsonValue

from cache_schema.durable import write_atomic
from cache_schema.errors import ConfigError
from cache_schema.places import refuse_foreign, require_writable
from pipeline.study.data import CachedRigs, digest
from pipeline.study.part import Part
from pipeline.study.trial import Trial
from stages.cache_teacher.teachers.checkpoint import refuse_nowhere
from stages.crowd import refuse_crowd
from stages.evaluate import execute as evaluate_execute
from stages.evaluate import plan as evaluate_plan
from stages.evaluate.config import EvaluateConfig, metrics_file
from stages.progress import Progress
from stages.train import execute as train_execute
from stages.train import plan as train_plan
from stages.train.config import TrainConfig
from stages.train.resolve import refuse_unfit_targets

PARTS = "parts"
"""The folder that a study is known by."""


@dataclass(frozen=True)
class Study:
    """What would be done, and where it is kept. Its parts are carried out by `parts.carry_out`."""

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    scored: tuple[CachedRigs, ...]
    """What all trials are scored on: one cache, in which each of these adds a teacher to be scored too."""
    split: str
    """Of what is scored."""
    baseline: str
    """The variant that the others are compared with, at the same point of the grid."""
    out: Path
    code_version: str
    device: str = "auto"
    threads: int | None = None
    """CPU threads of each run; none: the cores divided by `jobs`, or this process's where that is 1."""
    jobs: int = 1
    """Runs at a time."""
    compare: tuple[tuple[str, str], ...] = ()
    """Further pairs of variants: the first against the second."""
    note: str = ""
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    """All that it was made from, kept beside the figures."""

    @property
    def records(self) -> Path:
        """Folder of the parts' records."""
        return self.out / PARTS

    @property
    def teachers(self) -> Path:
        """Scores of the cached teachers."""
        return self.out / "teachers.json"

    def run(self, trial: Trial, seed: int) -> Path:
        """Folder of a training run."""
        return self.out / "runs" / f"{trial.folder}-{seed}"

    def metrics(self, trial: Trial, seed: int) -> Path:
        """Scores of a run's student; those of every rig are beside it."""
        return metrics_file(self.run(trial, seed), self.split)

    def trial(self, variant: str, place: Mapping[str, object]) -> Trial | None:
        """The trial of a variant at a point of the grid."""
        return next((each for each in self.trials if each.variant == variant and each.place == place), None)

    def parts(self, only: Collection[str] = ()) -> list[Part]:
        """All parts, in order; seed by seed, so that a first comparison is there early. `only` these variants.

        A run that several trials share is one part, with the name of the first.
        """
        trials = [trial for trial in self.trials if not only or trial.variant in only]
        parts: dict[str, Part] = {}
        for rigs in (*self.scored, *(rigs for trial in trials for rigs in trial.data)):
            parts |= {part.name: part for part in rigs.parts(self.code_version)}
        teachers = _teachers_part(self)
        parts[teachers.name] = teachers
        runs: dict[Path, Part] = {}
        for seed in self.seeds:
            for trial in trials:
                runs.setdefault(self.run(trial, seed), self.run_part(trial, seed))
        return [*parts.values(), *runs.values()]

    def run_part(self, trial: Trial, seed: int) -> Part:
        """The part that trains and scores a trial with one seed."""
        work = Run(
            training=trial.training.model_copy(update={"seed": seed}),
            cache=trial.labelled.location,
            folder=self.run(trial, seed),
            scored=self.scored[0].location,
            split=self.split,
            device=self.device,
            threads=self.threads,
            code_version=self.code_version,
        )
        data = (*trial.data, self.scored[0])
        decided = digest(self.code_version, self.split, str(seed), trial.decided, self.scored[0].identity())
        first = next(each for each in self.trials if each.folder == trial.folder)
        needs = tuple(part.name for rigs in data for part in rigs.parts(self.code_version)[-1:])
        name = f"{first.name}, seed {seed}"
        return Part(name, "run", "units", decided, self.metrics(trial, seed), partial(train_and_score, work), needs)


@dataclass(frozen=True)
class Run:
    """One training run and the scores of its student; it travels to other processes."""

    training: TrainConfig
    cache: str
    folder: Path
    scored: str
    split: str
    device: str
    threads: int | None
    code_version: str


def train_and_score(run: Run, progress: Progress) -> None:
    """Do what is left of a run. Raises what the stages raise."""
    before = torch.get_num_threads()
    torch.set_num_threads(run.threads or before)
    try:
        trained = train_plan.plan(run.training, run.cache, run.folder)
        train_execute.execute(trained, progress, code_version=run.code_version)
        config = EvaluateConfig(cache=run.scored, run=run.folder, split=run.split, teachers=(), device=run.device)
        # Under the plain name whatever is there: the study's data may have been others when it was started before.
        evaluated = replace(evaluate_plan.plan(config), label="")
        evaluate_execute.execute(evaluated, progress, code_version=run.code_version)
    finally:
        torch.set_num_threads(before)


def refuse_another_out(out: Path) -> None:
    """Raise ConfigError where the folder of a study holds something else, be it one that had just begun."""
    if not (out / PARTS).is_dir():
        refuse_foreign(out, "--out", "study", own=("street*", "zarr*", "data", "runs"))
    require_writable(out, "--out")


def refuse_contradictions(study: Study) -> None:
    """Raise what the stages would raise, once data are made, of settings that cannot be.

    ConfigError for more processes than the machine can use, where a trial's losses cannot learn from its targets, or
    where it learns from what it is scored on; TeacherError for a teacher that is nowhere.
    """
    refuse_crowd("jobs", study.jobs)
    refuse_crowd("threads", study.threads)
    for trial in study.trials:
        cached, training = trial.labelled.cache, trial.training
        if cached is None or not training.losses.needs_teacher:
            continue
        refuse_nowhere(cached.teacher.id)
        try:
            refuse_unfit_targets(training, cached.targets.bins.count, cached.targets.normalisation)
        except ConfigError as error:
            raise ConfigError(f"{trial.name}: {error}") from error
        if training.losses.features > 0 and not cached.targets.features:
            raise ConfigError(f"{trial.name} learns the teacher's features, which targets.features=false leaves out")
    _refuse_leaks(study)


def _refuse_leaks(study: Study) -> None:
    """Raise ConfigError where a trial learns from towns of the embedded world that it is scored on."""
    tested = {town for rigs in study.scored if rigs.street for town in rigs.street.splits[study.split].towns}
    for trial in study.trials:
        learned = [(trial.labelled, trial.training.split)]
        if trial.unlabelled is not None and trial.training.unlabelled is not None:
            learned.append((trial.unlabelled, trial.training.unlabelled.split))
        for rigs, split in learned:
            shared = tested.intersection(rigs.street.splits[split].towns) if rigs.street else set()
            if shared:
                raise ConfigError(f"{trial.name} would learn from town {min(shared)}, on which it is to be scored")


def _teachers_part(study: Study) -> Part:
    names = tuple(rigs.teacher for rigs in study.scored if rigs.teacher is not None)
    config = EvaluateConfig(
        cache=study.scored[0].location, split=study.split, teachers=names or None, device=study.device
    )
    decided = digest(study.code_version, study.split, *(rigs.content for rigs in study.scored))
    needs = tuple(part.name for rigs in study.scored for part in rigs.parts(study.code_version)[-1:])
    work = partial(_score_teachers, config, study.teachers, study.code_version)
    return Part("teachers", "teachers", "rigs", decided, study.teachers, work, needs)


def _score_teachers(config: EvaluateConfig, file: Path, code_version: str, progress: Progress) -> None:
    (evaluation,) = evaluate_execute.execute(evaluate_plan.plan(config), progress, code_version=code_version)
    write_atomic(file, evaluation.model_dump_json(indent=2) + "\n")
