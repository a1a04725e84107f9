"""The teacher that the settings name: who it is, and the teacher itself."""

from __future__ import annotations

from typing import Any

from cache_schema import TeacherIdentity
from cache_schema.errors import TeacherError
from cache_schema.manifest import differing_fields
from stages.cache_teacher.config import TeacherSettings
from stages.cache_teacher.teachers import Teacher, identify_teacher, load_teacher
from stages.cache_teacher.teachers.checkpoint import find_checkpoint
from stages.cache_teacher.teachers.features import channels_of
from stages.cache_teacher.teachers.network import load_config
from stages.device import choose_device


def identify(settings: TeacherSettings) -> TeacherIdentity:
    """Who it is. Raises TeacherError."""
    return identify_teacher(settings.id, **_how_it_looks(settings))


def feature_channels(settings: TeacherSettings) -> int:
    """Channels of its features, told without loading its weights. Raises TeacherError."""
    return channels_of(load_config(find_checkpoint(settings.id, settings.revision)))


def load(settings: TeacherSettings, device: str) -> Teacher:
    """The teacher, on a device. Raises TeacherError, and ConfigError for a device that there is not."""
    return load_teacher(settings.id, device=choose_device(device), **_how_it_looks(settings))


def require_same(settings: TeacherSettings, found: TeacherIdentity, expected: TeacherIdentity) -> None:
    """Raise TeacherError where the settings lead to another network than the one the cache is made with.

    Its folder may be called otherwise here.
    """
    differences = differing_fields(expected, found, skip=("id", "revision"))
    if differences:
        raise TeacherError(f"teacher {settings.id} is not the one of the cache: {'; '.join(differences)}")


def _how_it_looks(settings: TeacherSettings) -> dict[str, Any]:
    """What is the same for `identify_teacher` and `load_teacher`, whose arguments are called like the settings."""
    return settings.model_dump(exclude={"id", "name"})
