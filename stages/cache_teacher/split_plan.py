"""What stage 1 would do with one split: which of its samples there are, what a few of them show, how much is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from cache_schema import LIDAR_CHUNK_POINTS, RigFrames, SplitRecord, samples_digest
from cache_schema.arrays import whole_chunks
from cache_schema.errors import DatasetError
from cache_schema.journal import Journal
from cache_schema.layout import frames_group, teacher_group
from cache_schema.storage import open_storage
from stages.cache_teacher.config import CacheTeacherConfig
from stages.cache_teacher.datasets.base import IncompleteSample, RigDataset, SampleRef, SplitNotes
from stages.cache_teacher.datasets.ego_masks import EgoMasks
from stages.cache_teacher.datasets.plausible_cameras import camera_doubts
from stages.cache_teacher.datasets.plausible_poses import drive_doubts, require_cameras_apart, require_views_apart
from stages.cache_teacher.skipping import Skip, shown
from stages.cache_teacher.survey import LidarSurvey, few_rigs, survey_lidar
from stages.cache_teacher.unusable import NOTHING_WRITTEN, Unusable, UnusableSamplesError, try_load, unreadable
from stages.wording import counted

SHOWN = 10
"""Incomplete samples that the plan names."""
SHOWN_IN_ERROR = 3
"""Incomplete samples that an error names."""
TRIED = 8
"""Samples of which one must be readable, for the plan to know what the others are like."""


@dataclass(frozen=True)
class SplitPlan:
    """One split: its samples, what is left out of it, and how much is done."""

    name: str
    record: SplitRecord
    samples: tuple[SampleRef, ...]
    incomplete: tuple[IncompleteSample, ...]
    left_out: tuple[str, ...]
    """How many on request, and why."""
    frames_done: int
    teacher_done: int
    native_size: tuple[int, int]
    doubts: tuple[str, ...]
    """What is doubtful of cameras and poses."""
    lidar: LidarSurvey | None
    """None without LiDAR."""

    def describe(self) -> list[str]:
        """The split's part of the plan, and by name what is left out."""
        done = f"{self.frames_done} with frames, {self.teacher_done} with this teacher done"
        without = "" if self.record.lidar else "; without LiDAR"
        dense = "; dense depth" if self.record.dense_depth else ""
        sweeps = f"; LiDAR of up to {counted(n, 'sweep')}" if (n := self.record.lidar_sweeps) > 1 else ""
        skipped = f"; {counted(n, 'incomplete one')} skipped" if (n := len(self.incomplete)) else ""
        lines = [f"{self.name:8} {counted(self.record.rigs, 'rig')}{skipped}; {done}{without}{sweeps}{dense}"]
        lines += [f"{'':8} {line}" for line in (self.lidar.describe() if self.lidar else ())]
        lines += [f"{'':8} doubtful: {doubt}" for doubt in self.doubts]
        lines += [f"{'':8} left out: {reason}" for reason in self.left_out]
        lines += [f"{'':8} skipped: {sample}" for sample in self.incomplete[:SHOWN]]
        more = len(self.incomplete) - SHOWN
        return lines + ([f"{'':8} skipped: and {more} more"] if more > 0 else [])


def plan_split(
    config: CacheTeacherConfig, dataset: RigDataset, name: str, teacher_name: str, masks: EgoMasks | None, skip: Skip
) -> SplitPlan:
    """Look at one split. Raises DatasetError where it cannot be cached as asked."""
    samples, skipped = skip.part(dataset.samples(name))
    incomplete, skipped_too = skip.part(dataset.incomplete(name))
    samples = samples[: config.limit]
    if config.on_missing == "fail" and incomplete:
        raise _found_incomplete(config, name, incomplete)
    notes = _with_skipped(dataset.notes(name), (*skipped, *skipped_too))
    if not samples:
        why = [*map(str, incomplete[:SHOWN_IN_ERROR]), *(f"left out: {reason}" for reason in notes.left_out)]
        raise DatasetError(f"split {name} of {config.root} has no complete sample: {'; '.join(why)}")
    if masks is not None:
        for scene in {sample.scene for sample in samples}:
            masks.index(scene)  # a scene without its masks is refused before any work is done
    storage = open_storage(config.cache)
    first = _first_rig(dataset, name, samples)
    height, width, _ = first.images[0].shape
    native_size = height, width
    cameras, rigs = list(dataset.described_cameras(name)), few_rigs(dataset, name, samples, first)
    one_place: dict[str, None] = {}
    for described in filter(None, cameras):
        poses = {each.name: each.rig_from_camera for each in described}
        found = require_cameras_apart(poses, [each.intrinsics_px for each in described], described[0].source)
        one_place.update(dict.fromkeys(found))
    doubts = [
        *one_place,
        *camera_doubts(chain.from_iterable(cameras), native_size),
        *require_views_apart(rigs, dataset.cameras),
        *drive_doubts(dataset, name, samples),
    ]
    record = _split_record(config, dataset, name, samples, masks, notes)
    left_out = notes.left_out
    if first.dense_depth_m is not None and not record.dense_depth and (ref := dataset.without_dense_depth(name)):
        left_out += (f"dense depth, which {ref.scene} sample {ref.sample} has not in every camera",)
    return SplitPlan(
        name=name,
        record=record,
        samples=samples,
        incomplete=incomplete,
        left_out=left_out,
        frames_done=Journal(storage, frames_group(name)).rigs_done(),
        teacher_done=Journal(storage, teacher_group(name, teacher_name)).rigs_done(),
        native_size=native_size,
        doubts=tuple(doubts),
        lidar=survey_lidar(dataset, name, samples, rigs) if config.lidar else None,
    )


def _with_skipped(notes: SplitNotes, skipped: tuple[str, ...]) -> SplitNotes:
    """With what was left out by name, which the manifest keeps: a repair must leave out the same."""
    if not skipped:
        return notes
    line = f"{counted(len(skipped), 'sample')} by name: {shown(skipped)}"
    return replace(notes, left_out=(*notes.left_out, line), selection={**notes.selection, "skipped": list(skipped)})


def _first_rig(dataset: RigDataset, split: str, samples: Sequence[SampleRef]) -> RigFrames:
    """The first rig that can be read: one that is damaged is named by the run, with all others.

    Raises UnusableSamplesError where none of the first can be.
    """
    damaged: list[Unusable] = []
    for ref in samples[:TRIED]:
        found = try_load(dataset, split, ref)
        if not isinstance(found, Unusable):
            return found
        damaged.append(found)
    raise unreadable(damaged, NOTHING_WRITTEN)


def _found_incomplete(
    config: CacheTeacherConfig, split: str, incomplete: Sequence[IncompleteSample]
) -> UnusableSamplesError:
    shown = "; ".join(map(str, incomplete[:SHOWN_IN_ERROR]))
    more = f"; and {len(incomplete) - SHOWN_IN_ERROR} more" if len(incomplete) > SHOWN_IN_ERROR else ""
    expected = "all cameras and the LiDAR" if config.lidar else "all cameras"
    return UnusableSamplesError(
        f"{config.root}: split {split!r} has {counted(len(incomplete), 'incomplete sample')} ({shown}{more}); "
        f"expected {expected} in each; leave them out with --on-missing skip",
        [Unusable(each.scene, each.sample, str(each)) for each in incomplete],
    )


def _split_record(
    config: CacheTeacherConfig,
    dataset: RigDataset,
    name: str,
    samples: Sequence[SampleRef],
    masks: EgoMasks | None,
    notes: SplitNotes,
) -> SplitRecord:
    points = config.lidar_points or dataset.lidar_capacity(name) * len(dataset.cameras)
    scenes = dict.fromkeys(sample.scene for sample in samples)
    names = [text for sample in samples for text in (sample.scene, sample.sample)]
    return SplitRecord(
        rigs=len(samples),
        samples_sha256=samples_digest((sample.scene, sample.sample) for sample in samples),
        shard_rigs=config.shard_rigs,
        lidar_points=whole_chunks(points, LIDAR_CHUNK_POINTS),
        text_bytes=max(len(text.encode()) for text in names),
        lidar=config.lidar,
        lidar_sweeps=notes.lidar_sweeps if config.lidar else 1,
        selection=dict(notes.selection),
        scene_conditions={scene: notes.scene_conditions[scene] for scene in scenes if scene in notes.scene_conditions},
        dense_depth=_dense_depth(config, dataset, name),
    )


def _dense_depth(config: CacheTeacherConfig, dataset: RigDataset, split: str) -> bool:
    """Whether dense depth of a split is stored. Raises DatasetError where it is asked for and not there."""
    if config.dense_depth is False:
        return False
    lacking = dataset.without_dense_depth(split)
    if config.dense_depth and lacking is not None:
        raise DatasetError(
            f"split {split} of {config.root} has no dense depth for {lacking.scene} sample {lacking.sample}; "
            "leave out --dense-depth"
        )
    return lacking is None
