"""The contract between the stages: what a cache holds, its units and provenance, how it is written and read."""

from cache_schema.cache import Cache, CachedRig, CachedTargets, FrameReader, TargetReader
from cache_schema.frames import LidarView, RigFrames, empty_frames, put_rig
from cache_schema.groups import Shard
from cache_schema.manifest import (
    LIDAR_CHUNK_POINTS,
    BinSpec,
    CacheLocation,
    DatasetIdentity,
    ImageSpec,
    Manifest,
    SplitRecord,
    TargetSpec,
    TeacherIdentity,
    TeacherKind,
    TeacherRecord,
    ego_masks_digest,
    samples_digest,
)
from cache_schema.writer import CacheWriter, GroupWriter

__all__ = [
    "LIDAR_CHUNK_POINTS",
    "BinSpec",
    "Cache",
    "CacheLocation",
    "CacheWriter",
    "CachedRig",
    "CachedTargets",
    "DatasetIdentity",
    "FrameReader",
    "GroupWriter",
    "ImageSpec",
    "LidarView",
    "Manifest",
    "RigFrames",
    "Shard",
    "SplitRecord",
    "TargetReader",
    "TargetSpec",
    "TeacherIdentity",
    "TeacherKind",
    "TeacherRecord",
    "ego_masks_digest",
    "empty_frames",
    "put_rig",
    "samples_digest",
]
