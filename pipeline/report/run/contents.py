"""Everything that the report of a run tells, gathered from its folder and its cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import ValidationError

from cache_schema import Cache
from cache_schema.errors import EvaluationError
from cache_schema.places import require_writable
from pipeline.latency import LATENCY, Latency
from pipeline.report.curves import Curve, read_curves, smoothed
from pipeline.report.run.tables import STUDENT
from pipeline.report.seen import Seen, see
from pipeline.rigs import refuse_unknown
from stages.device import choose_device
from stages.evaluate.files import data_label, is_of, results
from stages.evaluate.plan import trained_student
from stages.evaluate.protocol import PROTOCOLS, asked_by
from stages.evaluate.result import Evaluation
from stages.evaluate.subjects import look, student_subject, teacher_subjects
from stages.progress import Progress
from stages.train.config import TrainConfig
from stages.train.run_folder import CONFIG, PROVENANCE, TENSORBOARD, Provenance
from stages.train.stored import read_record
from stages.train.student import load_student, student_sha256
from stages.wording import counted

NOT_SHOWN = ("lr", "steps_per_second", "gradient")
"""Curves that are not of how well it learns."""
CHOSEN, WORST = 1, 2
"""Rigs that are shown unless asked otherwise: from the front of the split, and of those where the student is worst."""


@dataclass(frozen=True)
class Contents:
    """All of it."""

    run: Path
    evaluations: tuple[Evaluation, ...]
    """By protocol, `native` first."""
    training: TrainConfig
    provenance: Provenance
    curves: Mapping[str, Curve]
    latency: Latency | None
    label: str
    """What the names of files say of the data, where the run has results on others."""
    rigs: tuple[Seen, ...]
    """That pictures show, the first ones those that were asked for."""
    centres_m: Float[np.ndarray, "V K"] | None
    """Of the first of them; None for a student without bins."""

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.run.resolve().name

    @property
    def main(self) -> Evaluation:
        """The evaluation that figures are taken from where there is room for one."""
        return self.evaluations[0]


def worst_rigs(evaluation: Evaluation) -> tuple[int, ...]:
    """Rigs on which the student has the greatest AbsRel at LiDAR points, worst first."""
    return tuple(rig.index for rig in evaluation.worst if (rig.subject, rig.truth) == (STUDENT, "lidar"))


def gather(run: Path, cache: str, split: str, rigs: Sequence[int] | None, device: str, progress: Progress) -> Contents:
    """Read what stages 2 and 3 left, and ask student and teachers about the rigs that are shown.

    Raises EvaluationError where the run's student was not scored on this split of this cache, TrainingError where there
    is no run, CacheError, and ConfigError for a rig that there is not.
    """
    if not run.is_dir():
        raise EvaluationError(f"{run}: no such folder; expected a training run")
    require_writable(run, "--run")
    student_folder = trained_student(run, cache)
    opened = Cache(cache)
    count = len(opened.split(split))
    training = read_record(TrainConfig, run / CONFIG, "choose a training run")
    evaluations = _evaluations(run, opened, split)
    if rigs is not None:
        refuse_unknown(opened, split, rigs)
    front = range(min(CHOSEN, count)) if rigs is None else rigs
    shown = tuple(dict.fromkeys((*front, *worst_rigs(evaluations[0])[:WORST])))
    student = load_student(student_folder, choose_device(device))
    scored = {scores.subject for scores in evaluations[0].scores}
    teachers = [teacher for teacher in teacher_subjects(opened, split) if teacher.name in scored]
    subjects = [student_subject(student), *teachers]
    seen = []
    progress.begin("rigs", len(shown))
    for rig in shown:
        seen.append(see(opened, split, rig, subjects, evaluations[0].protocol))
        progress.advance()
    bins = look(student, seen[0].rig).bins
    provenance = read_record(Provenance, run / PROVENANCE, "choose a training run")
    return Contents(
        run=run,
        evaluations=evaluations,
        training=training,
        provenance=provenance,
        curves=_curves(run),
        latency=_latency(run, cache),
        label=data_label(run, opened.manifest, split),
        rigs=tuple(seen),
        centres_m=None if bins is None else bins.centres_m[0].float().cpu().numpy(),
    )


def _evaluations(run: Path, cache: Cache, split: str) -> tuple[Evaluation, ...]:
    """Of the run's student on this split, by every protocol."""
    again = f"fsmde evaluate --cache {cache.location} --run {run} --split {split}"
    known = list(results(run, split).values())
    if not known:
        raise EvaluationError(f"{run} was not scored on split {split}; score it first: {again}")
    found = [each for each in known if is_of(each, cache.manifest, split)] or known
    again += "".join(f" --protocol {asked_by(each.protocol.name)}" for each in found)
    dataset, rigs, student = cache.manifest.dataset, len(cache.split(split)), student_sha256(run / "student")
    for each in found:
        if each.student_sha256 != student:
            raise EvaluationError(f"the student in {run} is not the one that was scored; score it again: {again}")
        scored, here = (each.dataset, each.dataset_version, each.rigs), (dataset.name, dataset.version, rigs)
        if not is_of(each, cache.manifest, split):
            was, holds = (f"{name} {version} with {counted(count, 'rig')}" for name, version, count in (scored, here))
            holds += " otherwise" if scored == here else ""
            raise EvaluationError(
                f"{run} was scored on {was}, {cache.location} holds {holds}; give the other --cache, or score it "
                f"again: {again}"
            )
    order = {name: place for place, name in enumerate(PROTOCOLS)}
    return tuple(sorted(found, key=lambda each: (order.get(each.protocol.name, len(order)), each.protocol.name)))


def _curves(run: Path) -> dict[str, Curve]:
    curves = read_curves(run / TENSORBOARD)
    return {name: smoothed(curve) for name, curve in curves.items() if name not in NOT_SHOWN}


def _latency(run: Path, cache: str) -> Latency | None:
    file, again = run / LATENCY, f"measure again with: fsmde latency --cache {cache} --run {run}"
    if not file.exists():
        return None
    try:
        found = Latency.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise EvaluationError(f"{file} cannot be read ({error.errors()[0]['msg']}); {again}") from error
    if found.student_sha256 != student_sha256(run / "student"):
        raise EvaluationError(f"{file} is of another student than the one in {run}; {again}")
    return found
