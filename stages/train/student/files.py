"""A student on disk: a folder with `model.safetensors` and `config.json`, which cannot execute code."""

from __future__ import annotations

import filecmp
import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from cache_schema.errors import TrainingError
from stages.text import POINTER, is_pointer_file
from stages.train.config import StudentConfig
from stages.train.stored import read_record
from stages.train.student.model import Student

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def save_student(folder: Path, student: Student) -> None:
    """Write a student's weights and configuration into a folder, which is made where absent."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(student.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    weights = {name: value.detach().cpu().contiguous() for name, value in student.state_dict().items()}
    # Not save_file: it makes the file readable for its owner alone.
    (folder / WEIGHTS).write_bytes(save(weights))


def load_student(folder: Path, device: torch.device | str = "cpu") -> Student:
    """Read a student, ready to predict (evaluation mode). Raises TrainingError, naming the file at fault."""
    student = Student(read_config(folder))
    read_weights(student, folder)
    return student.to(device).eval()


def student_sha256(folder: Path) -> str:
    """Digest of a stored student's weights. Raises TrainingError where there are none."""
    try:
        with (folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"{folder / WEIGHTS} does not hold the weights of a student: {error}") from error


def same_student(one: Path, other: Path) -> bool:
    """Whether two folders hold the same student, to the byte."""
    files = [(one / name, other / name) for name in (CONFIG, WEIGHTS)]
    return all(a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False) for a, b in files)


def read_config(folder: Path) -> StudentConfig:
    """The configuration of a stored student. Raises TrainingError where it is absent or damaged."""
    return read_record(StudentConfig, folder / CONFIG, "train a student with: fsmde train --cache ./zarr --run DIR")


def read_weights(student: Student, folder: Path) -> None:
    """Fill a student with stored weights. Raises TrainingError where they are absent, damaged or another's."""
    file = folder / WEIGHTS
    try:
        student.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        found = POINTER if is_pointer_file(file) else f"does not hold the weights of this student: {error}"
        raise TrainingError(f"{file} {found}") from error
