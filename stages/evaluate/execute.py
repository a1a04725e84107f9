"""Stage 3 at work: every rig once, every subject on it, nothing dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cache_schema import CachedRig
from cache_schema.durable import write_atomic
from cache_schema.errors import ConfigError, EvaluationError, TrainingError
from stages.device import choose_device
from stages.evaluate.files import data_sha256
from stages.evaluate.parts import intervals, part_scores, worst_rigs
from stages.evaluate.plan import EvaluationPlan
from stages.evaluate.prediction import aligned, compare
from stages.evaluate.protocol import Protocol
from stages.evaluate.result import Evaluation
from stages.evaluate.rig_scores import RigScores, rig_scores_file, write_rig_scores
from stages.evaluate.scoring import Scorer
from stages.evaluate.subjects import Maps, Subject, metric_teacher_subject, student_subject, teacher_subject
from stages.evaluate.truth import Truth, dense_truth, lidar_truth
from stages.progress import Progress
from stages.train.metric_teacher import MetricTeacher, MetricTeacherRecord, fit_metric_teacher
from stages.train.student import load_student
from stages.wording import counted


def execute(plan: EvaluationPlan, progress: Progress, *, code_version: str) -> tuple[Evaluation, ...]:
    """Score all subjects by every protocol and write the results, in the order of the protocols.

    Raises EvaluationError on a prediction that is not a number, and where there is no point to compare with.
    """
    metric_teachers = _metric_teachers(plan, progress)
    subjects = _subjects(plan)
    subjects += [metric_teacher_subject(teacher, plan.cache, plan.config.split) for teacher in metric_teachers]
    tables = [_Table(plan, protocol, subjects) for protocol in plan.protocols]
    names: list[tuple[str, str]] = []
    progress.begin(f"evaluate {plan.config.split}", len(plan.frames))
    for index in range(len(plan.frames)):
        rig = plan.frames[index]
        names.append((rig.scene, rig.sample))
        maps = {subject.name: subject.maps(index, rig) for subject in subjects}
        for name, predicted in maps.items():
            _refuse_nonfinite(name, rig, predicted, plan.cache.manifest.dataset.cameras)
        for table in tables:
            table.add(index, rig, maps)
        progress.advance()
    for table in tables:
        table.refuse_nothing()
    found = [(table, table.rig_scores(names)) for table in tables]
    records = tuple(each.record for each in metric_teachers)
    evaluations = [table.evaluation(rig_scores, records, code_version) for table, rig_scores in found]
    for (table, rig_scores), evaluation in zip(found, evaluations, strict=True):
        if (output := plan.output(table.protocol)) is not None:
            write_rig_scores(rig_scores_file(output), rig_scores)
            write_atomic(output, evaluation.model_dump_json(indent=2) + "\n")
    return tuple(evaluations)


def _subjects(plan: EvaluationPlan) -> list[Subject]:
    students = []
    if plan.student_folder is not None:
        students.append(student_subject(load_student(plan.student_folder, choose_device(plan.config.device))))
    return [*students, *(teacher_subject(name, targets) for name, targets in plan.teachers.items())]


def _metric_teachers(plan: EvaluationPlan, progress: Progress) -> list[MetricTeacher]:
    """The teachers that could be fitted to the LiDAR of a split, as the plan asks; of others it is said why not."""
    config, found = plan.config, list[MetricTeacher]()
    if config.metric_from is None:
        return found
    for name in plan.teachers:
        try:
            found.append(fit_metric_teacher(plan.cache, config.metric_from, name, config.metric_teacher, progress))
        except (ConfigError, TrainingError) as error:
            progress.note(f"metric   teacher {name} is left out: {error}")
            continue
        for line in found[-1].describe():
            progress.note(line)
    return found


class _Table:
    """All scores by one protocol."""

    def __init__(self, plan: EvaluationPlan, protocol: Protocol, subjects: Sequence[Subject]) -> None:
        self.protocol = protocol
        self._plan = plan
        self._dataset = plan.cache.manifest.dataset
        self._subjects = subjects
        self._scorers = {
            (called, truth): Scorer(
                called,
                alignment,
                self._dataset.cameras,
                protocol,
                truth=truth,
                pairs=self._dataset.adjacent_pairs,
            )
            for truth in plan.truths
            for subject in subjects
            for alignment, called in subject.called.items()
        }

    def add(self, index: int, rig: CachedRig, maps: Mapping[str, Maps]) -> None:
        """Count one rig."""
        truths = self._truths(index, rig)
        for subject in self._subjects:
            for alignment, called in subject.called.items():
                native_size, far_m = self._dataset.native_size, self.protocol.clamp_m[1]
                prediction = aligned(maps[subject.name], alignment, truths[0], native_size, far_m)
                for truth in truths:
                    self._scorers[called, truth.name].add(compare(prediction, truth), truth)

    def refuse_nothing(self) -> None:
        """Raise EvaluationError where no image of any rig had a point to compare with.

        A teacher without a point to fit to has no score, so that a subject with one is enough.
        """
        if not any(points.any() for scorer in self._scorers.values() for points in scorer.rig_points().values()):
            low, high = self.protocol.range_m
            raise EvaluationError(
                f"{self._plan.cache.location}: nothing was scored or written, for split {self._plan.config.split} "
                f"({counted(len(self._plan.frames), 'rig')}) has no point {low:g} to {high:g} m away, as protocol "
                f"{self.protocol.name} wants them; are LiDAR points in metres? Mend the data and cache it anew"
            )

    def rig_scores(self, names: Sequence[tuple[str, str]]) -> RigScores:
        """What is known of every rig; `names` are their scenes and samples."""
        cameras = self._dataset.cameras
        return RigScores(
            scenes=tuple(scene for scene, _ in names),
            samples=tuple(sample for _, sample in names),
            cameras=cameras,
            pairs=tuple(f"{cameras[i]}-{cameras[j]}" for i, j in self._dataset.adjacent_pairs),
            values={name: value for scorer in self._scorers.values() for name, value in scorer.rig_scores().items()},
            points={name: count for scorer in self._scorers.values() for name, count in scorer.rig_points().items()},
        )

    def evaluation(
        self, rig_scores: RigScores, metric_teachers: tuple[MetricTeacherRecord, ...], code_version: str
    ) -> Evaluation:
        """The result."""
        config, scorers = self._plan.config, self._scorers.values()
        scores = [
            score.model_copy(update={"intervals": intervals(rig_scores, f"{score.subject}/{score.truth}")})
            if score.scaling == "none"
            else score
            for scorer in scorers
            for score in scorer.scores()
        ]
        return Evaluation(
            code_version=code_version,
            cache=config.cache,
            run=None if config.run is None else str(config.run),
            student_sha256=self._plan.student_sha256,
            trained_otherwise=self._plan.trained_otherwise,
            dataset=self._dataset.name,
            dataset_version=self._dataset.version,
            split=config.split,
            data_sha256=data_sha256(self._plan.cache.manifest, config.split),
            rigs=len(self._plan.frames),
            protocol=self.protocol,
            scores=tuple(score for score in scores if score.truth == "lidar"),
            dense_scores=tuple(score for score in scores if score.truth == "dense"),
            cross_view=tuple(score for scorer in scorers for score in scorer.cross_view_scores()),
            parts=part_scores(rig_scores, self.protocol, self._plan.frames.record.scene_conditions),
            worst=worst_rigs(rig_scores),
            metric_teachers=metric_teachers,
        )

    def _truths(self, index: int, rig: CachedRig) -> list[Truth]:
        """What a rig is compared with, LiDAR first."""
        truths = [lidar_truth(rig, self.protocol, self._dataset)]
        if "dense" in self._plan.truths:
            truths.append(dense_truth(self._plan.frames.dense_depth(index), rig, self.protocol, self._dataset))
        return truths


def _refuse_nonfinite(name: str, rig: CachedRig, maps: Maps, cameras: Sequence[str]) -> None:
    for camera, predicted in zip(cameras, maps, strict=True):
        if not np.isfinite(predicted).all():
            raise EvaluationError(
                f"the prediction of {name} for {camera} of {rig.scene} sample {rig.sample} is not finite; "
                "nothing was written"
            )
