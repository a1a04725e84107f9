"""Carry out a study and write what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache_schema.durable import write_atomic
from pipeline.study.config import Plot
from pipeline.study.part import Failure, finished
from pipeline.study.parts import Watch, carry_out, refuse_failures
from pipeline.study.plot import draw
from pipeline.study.result import StudyResult, collect
from pipeline.study.study import Study
from pipeline.study.table import markdown
from pipeline.study.trial import Trial

TABLE, RESULT = "table.md", "result.json"


@dataclass(frozen=True)
class Conducted:
    """What came of a study, the files that say so, and what failed."""

    result: StudyResult
    files: tuple[Path, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Cell:
    """How far a trial is."""

    trial: Trial
    done: tuple[int, ...]
    left: tuple[int, ...]
    steps: int
    rigs: int
    unlabelled_rigs: int


def conduct(
    study: Study,
    watch: Watch,
    say: Callable[[str], None],
    *,
    plots: Sequence[Plot] = (),
    only: Collection[str] = (),
    jobs: int = 1,
) -> Conducted:
    """Do what is left, and write the table of all that is finished. What fails is kept to be tried again.

    Raises the errors of what every trial needs: the rigs that are scored on, and their teachers.
    """
    failures = carry_out(study.parts(only), study.records, watch, say, jobs=jobs)
    if any(failure.part == "teachers" for failure in failures):
        refuse_failures(failures)
    result = collect(study, failures)
    table, data = study.out / TABLE, study.out / RESULT
    write_atomic(data, result.model_dump_json(indent=2) + "\n")
    write_atomic(table, markdown(result))
    files = [table, data]
    for plot in plots:
        drawn = draw(plot, result, study.out)
        files += drawn
        if not drawn:
            say(f"nothing to plot: no finished row has {plot.y}")
    return Conducted(result, tuple(files), tuple(failures))


def progress_of(study: Study, only: Collection[str] = ()) -> list[Cell]:
    """How far every trial is; nothing is changed."""
    cells = []
    for trial in study.trials:
        if only and trial.variant not in only:
            continue
        done = tuple(seed for seed in study.seeds if finished(study.run_part(trial, seed), study.records))
        rigs, further = trial.labelled.rigs(trial.training.split), trial.training.unlabelled
        cells.append(
            Cell(
                trial=trial,
                done=done,
                left=tuple(seed for seed in study.seeds if seed not in done),
                steps=trial.training.steps_for(rigs),
                rigs=rigs,
                unlabelled_rigs=trial.unlabelled.rigs(further.split) if trial.unlabelled and further else 0,
            )
        )
    return cells
