"""The dataset that the settings name."""

from __future__ import annotations

from typing import get_args

from cache_schema.errors import ConfigError
from stages.cache_teacher.config import CacheTeacherConfig, DatasetName, NuscenesSettings
from stages.cache_teacher.datasets.base import RigDataset
from stages.cache_teacher.datasets.ddad import DdadDataset
from stages.cache_teacher.datasets.folder.dataset import FolderDataset

OPTIONS = {
    "version": "--version",
    "frames": "--frames",
    "spread_s": "nuscenes.spread_s",
    "static_below_m": "--static-below",
    "tokens": "--tokens",
    "sweeps": "--sweeps",
}
"""The options of nuScenes' settings."""
DATASETS: tuple[str, ...] = get_args(DatasetName)


def open_dataset(config: CacheTeacherConfig) -> RigDataset:
    """Open it. Raises ConfigError for settings of another dataset, DatasetError where it cannot be read."""
    if config.dataset == "nuscenes":
        from stages.cache_teacher.datasets.nuscenes.dataset import NuscenesDataset  # needs the extra

        return NuscenesDataset(config.root, config.nuscenes, lidar=config.lidar)
    if config.nuscenes != NuscenesSettings():
        given = ", ".join(OPTIONS[name] for name in sorted(config.nuscenes.model_fields_set))
        raise ConfigError(f"{given}: for --dataset nuscenes, not for {config.dataset}; leave it out")
    if config.dataset == "folder":
        return FolderDataset(config.root, lidar=config.lidar)
    return DdadDataset(config.root, lidar=config.lidar, dense_depth=config.dense_depth is not False)
