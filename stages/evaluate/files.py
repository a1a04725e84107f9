"""Files of results in a run, which may have been scored on several data: those of one never replace another's.

The first data that are scored have the plain names; of others the name is in those of their files.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pydantic import ValidationError

from cache_schema import Manifest
from cache_schema.errors import EvaluationError
from stages.evaluate.config import metrics_file
from stages.evaluate.result import Evaluation

_ROOM = {"shard_rigs", "lidar_points", "text_bytes", "frames_complete", "teachers_complete"}
"""What of a split says how it is stored, not what it is."""


def read_evaluation(file: Path) -> Evaluation:
    """What stage 3 wrote. Raises EvaluationError where it is damaged or of another version."""
    try:
        return Evaluation.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise EvaluationError(f"{file} is not a result of this version of fsmde; score again") from error


def data_sha256(manifest: Manifest, split: str) -> str:
    """Digest of all that decides what a split of a cache is, wherever the cache lies."""
    record = manifest.splits[split].model_dump_json(exclude=_ROOM)
    parts = (manifest.dataset.model_dump_json(), manifest.image.model_dump_json(), split, record)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_of(evaluation: Evaluation, manifest: Manifest, split: str) -> bool:
    """Whether a result is of a split of such a cache; earlier versions tell it by the dataset and the rigs alone."""
    if evaluation.split != split or split not in manifest.splits:
        return False
    if evaluation.data_sha256 is not None:
        return evaluation.data_sha256 == data_sha256(manifest, split)
    here = (manifest.dataset.name, manifest.dataset.version, manifest.splits[split].rigs)
    return (evaluation.dataset, evaluation.dataset_version, evaluation.rigs) == here


def results(run: Path, split: str) -> dict[Path, Evaluation]:
    """All results of a run on a split, by their files, those with plain names first. Raises EvaluationError."""
    files = sorted(run.glob(f"{metrics_file(run, split).stem}*.json"), key=lambda file: (len(file.name), file.name))
    found = {file: read_evaluation(file) for file in files}
    return {file: result for file, result in found.items() if result.split == split}


def data_label(run: Path, manifest: Manifest, split: str) -> str:
    """What the names of files of a run say of a split of such a cache: nothing, unless they are those of other data.

    A result that cannot be read gives way.
    """
    name = re.sub(r"[^A-Za-z0-9._]+", "-", manifest.dataset.name).strip("-._")
    label = f"{name}-{data_sha256(manifest, split)[:8]}"
    for file in run.glob("metrics*.json"):
        try:
            result = read_evaluation(file)
        except EvaluationError:
            continue
        if result.split != split:
            continue
        if file == metrics_file(run, split, result.protocol.name, label):
            return label
        if file == metrics_file(run, split, result.protocol.name) and not is_of(result, manifest, split):
            return label
    return ""
