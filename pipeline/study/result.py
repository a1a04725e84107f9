"""`result.json`: everything that the table and the plots say, for machines."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field, JsonValue

from cache_schema import Cache
from cache_schema.manifest import Record
from pipeline.study.crew import share_of_cores
from pipeline.study.figures import Figure, figures_of, over_seeds
from pipeline.study.paired import MEAN, Drawn, Estimate, differences, drawn_figures, improvements
from pipeline.study.part import Failure, finished
from pipeline.study.parts import seconds, wall_time
from pipeline.study.study import Study
from pipeline.study.trial import Label, Trial
from stages.device import choose_device
from stages.evaluate.bootstrap import reach
from stages.evaluate.files import read_evaluation
from stages.evaluate.protocol import Protocol
from stages.evaluate.published import world_of
from stages.evaluate.result import Evaluation
from stages.evaluate.rig_scores import read_rig_scores, rig_scores_file
from stages.train.checkpoint import checkpoints, read_state

IMPROVEMENTS = {"lidar": f"lidar.{MEAN}", "dense": f"dense.{MEAN}"}
"""The mean improvement, by truth."""


class Row(Record):
    """One line of the table: a trial over its seeds, or a teacher of the cache, aligned to LiDAR."""

    name: str
    kind: Literal["variant", "teacher"]
    says: str
    figures: dict[str, Figure]
    change: dict[str, Figure] = Field(default_factory=dict)
    """Against the baseline, seed by seed: of AbsRel by truth, and as `lidar.gain` over all eight metrics."""
    variant: str = ""
    place: dict[str, Label] = Field(default_factory=dict)
    """Its label on every axis of the grid."""
    against: str | None = None
    """The row of the baseline at the same point of the grid; the baseline has none."""
    seeds: tuple[int, ...] = ()
    """Those that are finished."""
    steps: int | None = None
    """Optimizer steps of each run."""
    train_rigs: int | None = None
    unlabelled_rigs: int = 0
    runs: tuple[str, ...] = ()
    """Folders of its runs, one for each seed, in the folder of the study; each holds its settings."""


class Pair(Record):
    """One row compared with another on the same rigs, with the same seeds."""

    row: str
    against: str
    seeds: tuple[int, ...]
    difference: dict[str, Estimate]
    """By figure: what it is more than the other's."""
    improvement: dict[str, Estimate]
    """By figure: the relative change for the better; `lidar.mean`, `dense.mean`: over five of them."""


class ScoredData(Record):
    """What is scored on."""

    dataset: str
    version: str
    split: str
    rigs: int
    views: int
    scenes: int | None = None
    """Earlier versions did not count them."""

    @property
    def limits(self) -> str:
        """What the intervals say nothing of, in a sentence, if anything."""
        return "" if self.scenes is None else reach(self.scenes, self.rigs)

    @property
    def title(self) -> str:
        """The split, by whose rigs they are."""
        return f"{world_of(self.dataset, self.version)} {self.split}"


class Machine(Record):
    """Where it ran."""

    system: str
    processor: str
    cores: int
    threads: int
    """CPU threads of each run."""
    device: str
    python: str
    torch: str


class StudyResult(Record):
    """The whole of `result.json`."""

    schema_version: Literal[1] = 1
    code_version: str
    settings: dict[str, JsonValue]
    seeds: tuple[int, ...]
    baseline: str
    note: str = ""
    data: ScoredData
    protocol: Protocol
    machine: Machine
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...] = ()
    """Every row against the baseline, then the pairs that were asked for."""
    failed: dict[str, str] = Field(default_factory=dict)
    """Parts that failed, and why."""
    seconds: dict[str, float]
    """Wall time of each part, some of which ran at the same time."""
    wall_s: float
    """Wall time of all."""

    def row(self, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows if row.name == name), None)

    def knows(self, figure: str) -> bool:
        """Whether any row has the figure."""
        return any(row.figures.get(figure) is not None and row.figures[figure].mean is not None for row in self.rows)

    def improvement(self, row: Row, figure: str) -> Estimate | None:
        """The improvement of a row over its baseline."""
        pair = next((pair for pair in self.pairs if (pair.row, pair.against) == (row.name, row.against)), None)
        return None if pair is None else pair.improvement.get(figure)


def collect(study: Study, failures: Sequence[Failure] = ()) -> StudyResult:
    """Read what the parts of a study left, as far as it went. The teachers are scored."""
    done = {trial.name: _finished_seeds(study, trial) for trial in study.trials}
    rows = [_row(study, trial, done[trial.name]) for trial in study.trials if done[trial.name]]
    teachers = read_evaluation(study.teachers)
    return StudyResult(
        code_version=study.code_version,
        settings=dict(study.settings),
        seeds=study.seeds,
        baseline=study.baseline,
        note=study.note,
        data=scored_data(study),
        protocol=teachers.protocol,
        machine=_machine(study),
        rows=(*rows, *_teacher_rows(study, teachers)),
        pairs=tuple(_pairs(study, done)),
        failed={failure.part: failure.reason for failure in failures},
        seconds=seconds(study.parts(), study.records),
        wall_s=wall_time(study.records),
    )


def scored_data(study: Study) -> ScoredData:
    """What is scored on, from the cache."""
    cache = Cache(study.scored[0].location)
    manifest, frames = cache.manifest, cache.split(study.split)
    return ScoredData(
        dataset=manifest.dataset.name,
        version=manifest.dataset.version,
        split=study.split,
        rigs=manifest.splits[study.split].rigs,
        views=len(manifest.dataset.cameras),
        scenes=len({frames.scene(index) for index in range(len(frames))}),
    )


def _finished_seeds(study: Study, trial: Trial) -> tuple[int, ...]:
    return tuple(seed for seed in study.seeds if finished(study.run_part(trial, seed), study.records))


def _row(study: Study, trial: Trial, seeds: tuple[int, ...]) -> Row:
    folders = [study.run(trial, seed) for seed in seeds]
    further, unlabelled = trial.training.unlabelled, trial.unlabelled
    against = study.trial(study.baseline, trial.place)
    return Row(
        name=trial.name,
        kind="variant",
        says=trial.says,
        figures=over_seeds([figures_of(read_evaluation(study.metrics(trial, seed)), "student") for seed in seeds]),
        variant=trial.variant,
        place=dict(trial.place),
        against=None if against is None or against == trial else against.name,
        seeds=seeds,
        steps=read_state(checkpoints(folders[0])[-1]).step,
        train_rigs=trial.labelled.rigs(trial.training.split),
        unlabelled_rigs=0 if unlabelled is None or further is None else unlabelled.rigs(further.split),
        runs=tuple(str(folder.relative_to(study.out)) for folder in folders),
    )


def _pairs(study: Study, done: Mapping[str, tuple[int, ...]]) -> Iterator[Pair]:
    """Of what is finished: seeds that only one of a pair has do not count."""
    drawn = functools.cache(lambda name, seeds: _drawn(study, by_name[name], seeds))
    by_name = {trial.name: trial for trial in study.trials}
    for trial, other in _compared(study):
        seeds = tuple(seed for seed in done[trial.name] if seed in done[other.name])
        if seeds:
            ours, theirs = drawn(trial.name, seeds), drawn(other.name, seeds)
            yield Pair(
                row=trial.name,
                against=other.name,
                seeds=seeds,
                difference=differences(ours, theirs),
                improvement=improvements(ours, theirs),
            )


def _compared(study: Study) -> Iterator[tuple[Trial, Trial]]:
    variants = dict.fromkeys(trial.variant for trial in study.trials)
    against_baseline = [(variant, study.baseline) for variant in variants if variant != study.baseline]
    asked = [pair for pair in study.compare if pair not in against_baseline]
    for variant, against in (*against_baseline, *asked):
        for trial in study.trials:
            other = study.trial(against, trial.place)
            if trial.variant == variant and other is not None:
                yield trial, other


def _drawn(study: Study, trial: Trial, seeds: Sequence[int]) -> dict[str, Drawn]:
    return drawn_figures([read_rig_scores(rig_scores_file(study.metrics(trial, seed))) for seed in seeds])


def _teacher_rows(study: Study, evaluation: Evaluation) -> list[Row]:
    """Teachers under their own names where no two are called the same."""
    named = {f"teacher {rigs.teacher}": f"teacher {rigs.called or rigs.teacher}" for rigs in study.scored}
    subjects = dict.fromkeys(s.subject for s in evaluation.scores if s.alignment == "disparity_least_squares")
    alone = len(set(named.values())) == len(named)
    says = "the cached targets, scale and shift of each image fitted to its LiDAR points"
    return [
        Row(
            name=named.get(subject, subject) if alone else subject,
            kind="teacher",
            says=says,
            figures=over_seeds([figures_of(evaluation, subject)]),
        )
        for subject in subjects
    ]


def _machine(study: Study) -> Machine:
    chosen = choose_device(study.device)
    alone = torch.get_num_threads() if study.jobs == 1 else share_of_cores(study.jobs)
    return Machine(
        system=platform.platform(),
        processor=platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        threads=study.threads or alone,
        device=torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type,
        python=platform.python_version(),
        torch=torch.__version__,
    )
