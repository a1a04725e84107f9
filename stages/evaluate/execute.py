"""Stage 3 at work: every rig once, every subject on it, nothing dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from cache_schema import CachedRig
from cache_schema.durable import write_atomic
from cache_schema.errors import EvaluationError
from cache_schema.soft_targets import expand, expected_position
from stages.device import choose_device
from stages.evaluate.conditions import condition_scores
from stages.evaluate.plan import EvaluationPlan
from stages.evaluate.prediction import Prediction, compare, fitted_disparity
from stages.evaluate.result import Evaluation
from stages.evaluate.rig_scores import RigScores, rig_scores_file, write_rig_scores
from stages.evaluate.scoring import Scorer
from stages.evaluate.truth import Truth, dense_truth, lidar_truth
from stages.progress import Progress
from stages.train.student import load_student, resize_images

Subject = Callable[[int, CachedRig, Truth], Prediction]
"""Gives the prediction for one rig, from its number, the rig, and its LiDAR points that count."""


def execute(plan: EvaluationPlan, progress: Progress, *, code_version: str) -> Evaluation:
    """Score all subjects and write the result. Raises EvaluationError on a prediction that is not a number."""
    dataset = plan.cache.manifest.dataset
    subjects = _subjects(plan)
    scorers = {
        (name, truth): Scorer(
            name,
            "metric" if name == "student" else "disparity_least_squares",
            dataset.cameras,
            plan.protocol,
            truth=truth,
            pairs=dataset.adjacent_pairs,
        )
        for truth in plan.truths
        for name in subjects
    }
    names: list[tuple[str, str]] = []
    progress.begin(f"evaluate {plan.config.split}", len(plan.frames))
    for index in range(len(plan.frames)):
        rig = plan.frames[index]
        names.append((rig.scene, rig.sample))
        truths = _truths(plan, index, rig)
        for name, subject in subjects.items():
            prediction = subject(index, rig, truths[0])
            _refuse_nonfinite(name, rig, prediction, dataset.cameras)
            for truth in truths:
                scorers[name, truth.name].add(compare(prediction, truth), truth)
        progress.advance()
    rig_scores = _rig_scores(plan, list(scorers.values()), names)
    evaluation = _evaluation(plan, list(scorers.values()), rig_scores, code_version)
    if plan.output is not None:
        write_rig_scores(rig_scores_file(plan.output), rig_scores)
        write_atomic(plan.output, evaluation.model_dump_json(indent=2) + "\n")
    return evaluation


def _truths(plan: EvaluationPlan, index: int, rig: CachedRig) -> list[Truth]:
    """What a rig is compared with, LiDAR first."""
    dataset = plan.cache.manifest.dataset
    truths = [lidar_truth(rig, plan.protocol, dataset)]
    if "dense" in plan.truths:
        truths.append(dense_truth(plan.frames.dense_depth(index), rig, plan.protocol, dataset))
    return truths


def _subjects(plan: EvaluationPlan) -> dict[str, Subject]:
    teachers = {f"teacher {name}": _teacher(plan, name) for name in plan.teachers}
    return teachers if plan.student_folder is None else {"student": _student(plan), **teachers}


def _student(plan: EvaluationPlan) -> Subject:
    assert plan.student_folder is not None
    device = choose_device(plan.config.device)
    student = load_student(plan.student_folder, device)
    native_size = plan.cache.manifest.dataset.native_size

    def predict(_: int, rig: CachedRig, __: Truth) -> Prediction:
        size = student.config.image_size or rig.images.shape[1:3]
        images = torch.from_numpy(resize_images(rig.images, size)).to(device)
        with torch.inference_mode():
            depth_m: Float[np.ndarray, "V H W"] = student(images[None]).depth_m[0].float().cpu().numpy()
        return Prediction(depth_m, native_size, plan.protocol.range_m[1])

    return predict


def _teacher(plan: EvaluationPlan, name: str) -> Subject:
    targets = plan.teachers[name]
    native_size = plan.cache.manifest.dataset.native_size

    def predict(index: int, _: CachedRig, lidar: Truth) -> Prediction:
        probability = expand(targets[index].encoded, targets.spec)
        u = expected_position(probability, targets.spec.bins)
        return fitted_disparity(u, lidar, native_size, plan.protocol.range_m[1])

    return predict


def _refuse_nonfinite(name: str, rig: CachedRig, prediction: Prediction, cameras: Sequence[str]) -> None:
    for camera, predicted in zip(cameras, prediction.maps, strict=True):
        if not np.isfinite(predicted).all():
            raise EvaluationError(
                f"the prediction of {name} for {camera} of {rig.scene} sample {rig.sample} is not finite; "
                "nothing was written"
            )


def _rig_scores(plan: EvaluationPlan, scorers: Sequence[Scorer], names: Sequence[tuple[str, str]]) -> RigScores:
    dataset = plan.cache.manifest.dataset
    return RigScores(
        scenes=tuple(scene for scene, _ in names),
        samples=tuple(sample for _, sample in names),
        cameras=dataset.cameras,
        pairs=tuple(f"{dataset.cameras[i]}-{dataset.cameras[j]}" for i, j in dataset.adjacent_pairs),
        values={name: value for scorer in scorers for name, value in scorer.rig_scores().items()},
    )


def _evaluation(
    plan: EvaluationPlan, scorers: Sequence[Scorer], rig_scores: RigScores, code_version: str
) -> Evaluation:
    dataset = plan.cache.manifest.dataset
    scores = [score for scorer in scorers for score in scorer.scores()]
    return Evaluation(
        code_version=code_version,
        cache=plan.config.cache,
        run=None if plan.config.run is None else str(plan.config.run),
        dataset=dataset.name,
        dataset_version=dataset.version,
        split=plan.config.split,
        rigs=len(plan.frames),
        protocol=plan.protocol,
        scores=tuple(score for score in scores if score.truth == "lidar"),
        dense_scores=tuple(score for score in scores if score.truth == "dense"),
        cross_view=tuple(score for scorer in scorers for score in scorer.cross_view_scores()),
        conditions=condition_scores(rig_scores, plan.frames.record.scene_conditions),
    )
