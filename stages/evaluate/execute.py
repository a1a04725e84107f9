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
from stages.evaluate.plan import EvaluationPlan
from stages.evaluate.result import Evaluation
from stages.evaluate.scoring import Scorer, ViewPair, disparity_pairs, metric_pairs
from stages.progress import Progress
from stages.train.student import load_student, resize_images

Subject = Callable[[int, CachedRig], Sequence[ViewPair]]
"""Gives truth and prediction per view for one rig and its number."""


def execute(plan: EvaluationPlan, progress: Progress, *, code_version: str) -> Evaluation:
    """Score all subjects and write the result. Raises EvaluationError on a prediction that is not a number."""
    cameras = plan.cache.manifest.dataset.cameras
    subjects = _subjects(plan)
    scorers = {
        name: Scorer(name, "metric" if name == "student" else "disparity_least_squares", cameras, plan.protocol)
        for name in subjects
    }
    progress.begin(f"evaluate {plan.config.split}", len(plan.frames))
    for index in range(len(plan.frames)):
        rig = plan.frames[index]
        for name, subject in subjects.items():
            pairs = subject(index, rig)
            _refuse_nonfinite(name, rig, pairs, cameras)
            scorers[name].add(pairs)
        progress.advance()
    evaluation = _evaluation(plan, scorers, code_version)
    if plan.output is not None:
        write_atomic(plan.output, evaluation.model_dump_json(indent=2) + "\n")
    return evaluation


def _subjects(plan: EvaluationPlan) -> dict[str, Subject]:
    teachers = {f"teacher {name}": _teacher(plan, name) for name in plan.teachers}
    return teachers if plan.student_folder is None else {"student": _student(plan), **teachers}


def _student(plan: EvaluationPlan) -> Subject:
    assert plan.student_folder is not None
    device = choose_device(plan.config.device)
    student = load_student(plan.student_folder, device)
    native_size = plan.cache.manifest.dataset.native_size

    def predict(_: int, rig: CachedRig) -> Sequence[ViewPair]:
        size = student.config.image_size or rig.images.shape[1:3]
        images = torch.from_numpy(resize_images(rig.images, size)).to(device)
        with torch.inference_mode():
            depth_m: Float[np.ndarray, "V H W"] = student(images[None]).depth_m[0].float().cpu().numpy()
        return metric_pairs(depth_m, rig, plan.protocol, native_size)

    return predict


def _teacher(plan: EvaluationPlan, name: str) -> Subject:
    targets = plan.teachers[name]
    native_size = plan.cache.manifest.dataset.native_size

    def predict(index: int, rig: CachedRig) -> Sequence[ViewPair]:
        probability = expand(targets[index].encoded, targets.spec)
        u = expected_position(probability, targets.spec.bins)
        return disparity_pairs(u, rig, plan.protocol, native_size)

    return predict


def _refuse_nonfinite(name: str, rig: CachedRig, pairs: Sequence[ViewPair], cameras: Sequence[str]) -> None:
    for camera, pair in zip(cameras, pairs, strict=True):
        if not np.isfinite(pair.predicted_m).all():
            raise EvaluationError(
                f"the prediction of {name} for {camera} of {rig.scene} sample {rig.sample} is not finite; "
                "nothing was written"
            )


def _evaluation(plan: EvaluationPlan, scorers: dict[str, Scorer], code_version: str) -> Evaluation:
    dataset = plan.cache.manifest.dataset
    return Evaluation(
        code_version=code_version,
        cache=plan.config.cache,
        run=None if plan.config.run is None else str(plan.config.run),
        dataset=dataset.name,
        dataset_version=dataset.version,
        split=plan.config.split,
        rigs=len(plan.frames),
        protocol=plan.protocol,
        scores=tuple(score for scorer in scorers.values() for score in scorer.scores()),
    )
