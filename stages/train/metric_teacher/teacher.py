"""The metric teacher: metric bin centres c_T for every view, and with them depth in metres, Σ p_T·c_T.

Its binning module has the form of the student's: one set of centres for each view, ordered like the teacher's bins.
Centres follow from two numbers, 1/c_T[k] = scale · u_k + shift, so that the harmonic mean of the centres by p_T is
the same line at the expected u. How scale and shift are told is our choice: the abstract of arXiv 2512.08700 speaks
of a binning module of the same form in teacher and student, and not of what it reads.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from cache_schema import Cache
from cache_schema.errors import ConfigError
from cache_schema.manifest import Digest, Record, differing_fields
from cache_schema.soft_targets import bin_positions
from stages.train.config import MetricTeacherConfig
from stages.train.metric_teacher.cues import RigCues
from stages.train.metric_teacher.head import ScaleShift
from stages.train.metric_teacher.rigs import RigReader, TeacherRig
from stages.train.run_folder import TrainingData, training_data
from stages.train.student.bins import expected_depth
from stages.wording import counted


class CrossFit(Record):
    """What a fit is worth: AbsRel at LiDAR points on the target grid of rigs whose scenes it did not see."""

    abs_rel: float
    one_scale_abs_rel: float
    """With one scale and shift of disparity for all views."""
    rigs: int
    scenes: int


class MetricTeacherRecord(Record):
    """What a metric teacher was fitted to, with what settings, and how well."""

    teacher: str
    """Its name in the cache."""
    split: str
    """Whose LiDAR it was fitted to."""
    config: MetricTeacherConfig
    """With what followed from the cache."""
    data: TrainingData
    manifest_sha256: Digest
    """Of the cache's whole manifest."""
    ground_z_m: float | None
    """Height of the ground in the rig frame; none where it is not used, or no rig tells it."""
    fold_of: dict[str, int]
    """By scene: the head that did not see it."""
    cross_fit: CrossFit


class MetricTeacher:
    """A teacher whose views have metric bin centres. Made by `fit_metric_teacher`, stored by `save_metric_teacher`.

    A scene that it was fitted to is told by the head that did not see it, any other by the mean of all heads.
    """

    def __init__(self, record: MetricTeacherRecord, heads: nn.ModuleList) -> None:
        self.record = record
        self.heads = heads

    def rigs(self, cache: Cache, split: str) -> RigReader:
        """The rigs of a split, of this or another cache, with the same teacher's targets.

        Raises ConfigError where teacher, targets or number of cameras are others, and the errors of `RigReader`.
        """
        record = self.record
        reader = RigReader(cache, split, record.teacher, record.config)
        found, fitted = training_data(cache.manifest, split, record.teacher), record.data
        assert found.teacher is not None
        assert fitted.teacher is not None
        differences = differing_fields(fitted.teacher, found.teacher, words=("fitted", "here"))
        if len(fitted.dataset.cameras) != reader.cameras:
            differences.append(f"cameras: {len(fitted.dataset.cameras)} fitted, {reader.cameras} here")
        if differences:
            raise ConfigError(
                f"{cache.location}: its teacher {record.teacher} is not the one that was made metric; different are"
                f" {'; '.join(differences)}"
            )
        return reader

    @torch.no_grad()
    def scale_shift(self, cues: RigCues, scene: str) -> ScaleShift:
        """Scale and shift (V,), in 1/m, of the u of a rig's views."""
        fold = self.record.fold_of.get(scene)
        if fold is not None:
            told: ScaleShift = self.heads[fold](cues)
            return told
        scales, shifts = zip(*(head(cues) for head in self.heads), strict=True)
        return ScaleShift(torch.stack(scales).log().mean(0).exp(), torch.stack(shifts).mean(0))

    def centres_m(self, reader: RigReader, seen: TeacherRig) -> Float32[Tensor, "V K"]:
        """Metric bin centres c_T in metres of a rig's views, from far to near as the teacher's bins are."""
        u = torch.from_numpy(bin_positions(reader.spec.bins).astype(np.float32)).expand(reader.cameras, -1)
        return 1 / self.scale_shift(seen.cues, seen.scene).inverse_depth(u, reader.limits_m)

    def depth_m(self, reader: RigReader, rig: int) -> Float32[Tensor, "V h w"]:
        """Σ p_T·c_T, the harmonic mean, in metres on the target grid; 0 in views of which the teacher says nothing.

        Raises CacheCorruptError where stored bytes are damaged.
        """
        seen = reader.read(rig, self.record.ground_z_m)
        depth_m = expected_depth(seen.probability[None], self.centres_m(reader, seen)[None], "disparity")[0]
        return torch.where(seen.cues.known[:, None, None], depth_m, 0)

    def describe(self) -> list[str]:
        """What it is and what it is worth, one line each, for a person."""
        config, found = self.record.config, self.record.cross_fit
        ground = self.record.ground_z_m
        told = ["camera"] + ["raw scale"] * config.raw_scale + ["features"] * bool(config.features)
        told += [] if ground is None else [f"the ground {ground:.2f} m above the rig's origin"]
        return [
            f"metric   teacher {self.record.teacher}: scale and shift of each view by {', '.join(told)};"
            f" fitted to {counted(found.rigs, 'rig')} of {counted(found.scenes, 'scene')} of split {self.record.split}",
            f"         AbsRel {found.abs_rel:.3f} at LiDAR points of scenes that were not fitted; one scale for all"
            f" views {found.one_scale_abs_rel:.3f}",
        ]
