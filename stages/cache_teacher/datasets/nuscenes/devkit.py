"""What is used of nuscenes-devkit; importing this module without it is an error that says what to install."""

from __future__ import annotations

from cache_schema.errors import ConfigError

try:
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import transform_matrix, view_points
    from nuscenes.utils.splits import create_splits_scenes
    from pyquaternion import Quaternion
except ImportError as error:
    raise ConfigError(
        f"nuScenes is read with nuscenes-devkit, which is not installed ({error}); it wants numpy 1, so in the folder "
        "of fsmde `make setup-nuscenes` installs it into .venv-nuscenes; or: pip install -e '.[nuscenes]'"
    ) from error

__all__ = ["LidarPointCloud", "Quaternion", "create_splits_scenes", "transform_matrix", "view_points"]
