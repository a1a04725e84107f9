"""Settings of training whose defaults depend on the cache and the machine, and those that do not fit the targets."""

from __future__ import annotations

from cache_schema import Manifest
from cache_schema.errors import CacheMissingError, ConfigError
from cache_schema.manifest import Normalisation
from stages.device import choose_device
from stages.train.config import TrainConfig
from stages.train.precision import resolve_precision


def resolve(config: TrainConfig, manifest: Manifest, cache: str) -> TrainConfig:
    """The settings with the defaults that depend on the cache and the machine filled in."""
    student: dict[str, object] = {
        "image_size": config.student.image_size or (manifest.image.height, manifest.image.width)
    }
    if "d_max_m" not in config.student.model_fields_set:
        student["d_max_m"] = manifest.dataset.far_m
    return config.model_copy(
        update={
            "teacher": _choose_teacher(config, manifest, cache),
            "precision": resolve_precision(config.precision, choose_device(config.device)),
            "student": config.student.model_copy(update=student),
            "steps": config.steps_for(manifest.splits[config.split].rigs),
            "epochs": None,
        }
    )


def _choose_teacher(config: TrainConfig, manifest: Manifest, cache: str) -> str | None:
    if not config.losses.needs_teacher:
        return None
    names = list(manifest.teachers)
    if config.teacher is not None or len(names) == 1:
        return config.teacher or names[0]
    if not names:
        raise CacheMissingError(
            f"{cache} has no teacher; add one with: fsmde cache-teacher … --cache {cache}, or train from LiDAR alone"
            " with losses.ckd=0 and losses.view_relation=0"
        )
    raise ConfigError(f"{cache} has several teachers, set teacher to one of: {', '.join(names)}")


def refuse_unfit_targets(config: TrainConfig, bins: int, normalisation: Normalisation) -> None:
    """Raise ConfigError where losses cannot learn from such targets: other bins, or ranks of what is to be aligned."""
    if config.losses.ckd > 0 and bins != config.student.bins:
        raise ConfigError(
            f"teacher {config.teacher} has targets over {bins} bins, the student has {config.student.bins};"
            f" set student.bins={bins}"
        )
    for term in ("pseudo_label", "metric_kd") if normalisation == "rank" else ():
        if getattr(config.losses, term) > 0:
            raise ConfigError(
                f"losses.{term} aligns disparities, and teacher {config.teacher} has targets by rank, which are none;"
                f" set losses.{term}=0, or cache the teacher with targets.normalisation=quantiles or median"
            )
